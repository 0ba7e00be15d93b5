import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import MbieEbConfig, SourceConfig, StagedSearchConfig
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.histories.dataset import is_informative
from compad_jax.sources import make_source
from compad_jax.sources.noise import draw_random_runs, noise_inputs
from tests.builders import tasks_of


def _run_lengths(is_random):
    """Lengths of the runs of one stream that end before the stream does."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_random]).astype(int)))
    starts, ends = edges[::2], edges[1::2]
    return ends - starts[: len(ends)]


@pytest.mark.parametrize("mean_length", [1, 6])
def test_every_step_is_random_at_its_rate(mean_length):
    falling = jnp.linspace(0.5, 0.1, 40)[:, None] * jnp.linspace(0, 1, 3)
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = jax.jit(jax.vmap(lambda key: draw_random_runs(key, falling, mean_length)))(keys)
    assert drawn.dtype == bool
    np.testing.assert_allclose(drawn.mean(0), falling, atol=0.015)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rates_without_chance(rate):
    drawn = draw_random_runs(jax.random.key(0), jnp.full((50, 2), rate), 4)
    np.testing.assert_array_equal(drawn, rate > 0)


def test_runs_have_their_mean_length():
    """Of rare ones, which hardly ever follow each other at once; single steps are independent."""
    rates = jnp.full((200_000, 1), 0.02)
    lengths = _run_lengths(np.asarray(draw_random_runs(jax.random.key(1), rates, 8))[:, 0])
    # One run in 500 follows another at once.
    assert abs(lengths.mean() / 8 - 1) < 0.15
    assert abs(lengths.std() / 8 - 1) < 0.25
    single = np.asarray(draw_random_runs(jax.random.key(2), rates * 20, 1))[:, 0]
    assert abs(single[1:][single[:-1]].mean() - 0.4) < 0.01


def test_the_runs_have_a_key_of_their_own():
    """None that `run_streams` splits off the history's key: actions would follow from the runs."""
    key, config = jax.random.key(3), StagedSearchConfig(random_run_length=1)
    rates, _ = noise_inputs(config, 2, 1000, key)
    for used in (key, *jax.random.split(key, 3)):
        numbers = jax.random.uniform(used, (1000, 2))
        assert not (rates == (numbers < 0.5 * rates.mean())).all()
        assert abs(np.corrcoef(numbers.ravel(), rates.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("name", "config"),
    [("mbie_eb", MbieEbConfig), ("staged_search", StagedSearchConfig)],
)
def test_what_is_done_at_random_is_not_imitated(name, config):
    env = DarkRoom(4, 10)
    noise = config(
        random_action_rate=0.4,
        final_random_action_rate=0.4,
        random_run_length=5,
        spread_random_actions=True,
    )
    settings = SourceConfig(name, 5, 300, **{name: noise})
    keys = jax.random.split(jax.random.key(0), 16)
    learn = jax.jit(jax.vmap(make_source(settings, env)))
    history = jax.device_get(learn(keys, tasks_of(env)))
    is_target = np.asarray(is_informative(history.log_probs))
    np.testing.assert_allclose(1 - is_target.mean((0, 2)), np.linspace(0, 0.4, 5), atol=0.05)
    probs = np.exp(history.log_probs)
    np.testing.assert_allclose(probs[~is_target], 1 / 5, rtol=1e-5)
    np.testing.assert_array_equal(probs[is_target].max(-1), 1)
    assert (history.transition.action == probs.argmax(-1))[is_target].all()
    random = history.transition.action[~is_target]
    np.testing.assert_allclose(np.bincount(random, minlength=5) / len(random), 1 / 5, atol=0.02)
