"""Families out of gymnax environments: in lockstep with the package itself."""

import sys

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import ConfigError
from compad_jax.config.command_line import load_config
from compad_jax.envs import make_env, protocol
from compad_jax.envs.gymnax_family import make_gymnax_family
from compad_jax.envs.protocol import Box, Discrete, make_tasks
from compad_jax.histories.collection import collect
from tests.builders import override, random_keys

_CONFIGS = {name: f"configs/gymnax/{name}.py" for name in ("memory_chain", "bandit", "cartpole")}


def _env(name):
    return make_env(load_config(_CONFIGS[name]).env)


def _play(env, task, actions):
    """One life, step by step: the first observation, then time steps [T]."""
    keys = random_keys((len(actions) + 1,))
    state, obs = protocol.reset(env, keys[-1], task)
    step = jax.jit(lambda k, s, a: protocol.step(env, k, s, a, task))
    timesteps = []
    for key, action in zip(keys[:-1], actions, strict=True):
        timestep = step(key, state, jnp.asarray(action))
        state = timestep.state
        timesteps.append(timestep)
    return np.asarray(obs), jax.device_get(jax.tree.map(lambda *x: jnp.stack(x), *timesteps))


def test_physics_are_those_of_the_task_in_lockstep_with_the_package():
    env = _env("cartpole")
    task = env.task(jnp.asarray(7))
    package, params = gymnax.make("CartPole-v1")
    params = params.replace(**jax.device_get(task.values))
    keys = random_keys((80,))
    state, obs = env.reset(keys[0], task)
    expected_obs, expected_state = package.reset_env(keys[0], params)
    pairs = [(obs, expected_obs)]
    actions = np.random.default_rng(0).integers(2, size=79)
    terminal = []
    for key, action in zip(keys[1:], actions, strict=True):
        state, obs, reward, terminated = env.step(key, state, jnp.asarray(action), task)
        expected_obs, expected_state, *outcome, _ = package.step_env(
            key, expected_state, action, params
        )
        pairs += [(obs, expected_obs), (reward, outcome[0]), (terminated, outcome[1])]
        terminal.append(bool(terminated))
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert any(terminal) and not terminal[0]


def test_tasks_differ_within_their_ranges():
    env = _env("cartpole")
    values = jax.device_get(make_tasks(env, np.arange(200)).values)
    for name, low, high in (("gravity", 5, 20), ("length", 0.3, 1), ("force_mag", 5, 15)):
        assert low <= values[name].min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < values[name].max() <= high
    assert env.num_tasks == 2**31 - 1
    assert abs(np.corrcoef(values["gravity"], values["length"])[0, 1]) < 0.3


def test_the_final_observation_the_end_and_the_limit_stay_apart():
    """A pole falls: terminal. One that is held up by chance of its limit: cut off."""
    env = make_gymnax_family("CartPole-v1", {"gravity": (9.0, 10.0)}, fixed={_LIMIT: 9})
    _, falls = _play(env, env.task(jnp.asarray(0)), [1] * 30)
    assert falls.truncated.any()
    longer = make_gymnax_family("CartPole-v1", {"gravity": (9.0, 10.0)}, fixed={_LIMIT: 50})
    _, falls = _play(longer, longer.task(jnp.asarray(0)), [1] * 30)
    end = int(falls.terminated.argmax())
    assert falls.terminated[end] and not falls.truncated[: end + 1].any()
    assert abs(falls.next_obs[end, 2]) > 0.2 > abs(falls.obs[end, 2])
    assert env.spec.horizon == 9 and longer.spec.horizon == 50


_LIMIT = "max_steps_in_episode"


def test_a_chain_asks_for_the_bit_that_it_showed_first():
    env = _env("memory_chain")
    assert env.num_tasks == 200
    lengths = make_tasks(env, np.arange(200)).values["memory_length"]
    np.testing.assert_array_equal(lengths, np.arange(3, 203))
    task = env.task(jnp.asarray(2))  # Five steps.
    first, steps = _play(env, task, [0] * 24)
    np.testing.assert_array_equal(np.flatnonzero(steps.terminated), [5, 11, 17, 23])
    np.testing.assert_array_equal(np.flatnonzero(~steps.distracted), [5, 11, 17, 23])
    shown = [first[2], *steps.obs[[5, 11, 17], 2]]
    assert set(shown) == {-1, 1}
    np.testing.assert_array_equal(steps.reward[[5, 11, 17, 23]], -np.array(shown))
    assert np.count_nonzero(steps.reward) == 4


def test_optimal_answers_earn_the_optimum():
    config = override(
        load_config(_CONFIGS["memory_chain"]), source={"num_streams": 3, "num_steps": 130}
    )
    history = collect(config, np.array([0, 17, 60]))
    env = make_env(config.env)
    for row, length in enumerate((3, 20, 63)):
        asked = np.arange(130) % (length + 1) == length
        taken, reward = history.transition.action[row], history.transition.reward[row]
        right = history.target[row] == taken
        np.testing.assert_array_equal(reward[:, asked] == 1, right[:, asked])
        np.testing.assert_array_equal(reward != 0, np.broadcast_to(asked, reward.shape))
        sure = history.log_probs[row].max(-1) == 0
        np.testing.assert_array_equal(sure, np.broadcast_to(asked, sure.shape))
    assert env.optimal_return(env.task(jnp.asarray(0))) == 1


def test_which_arm_pays_belongs_to_the_task():
    env = _env("bandit")
    task = make_tasks(env, np.arange(50))
    resets = jax.jit(jax.vmap(jax.vmap(env.reset, (0, None)), (None, 0)))
    state, _ = resets(random_keys((4,)), task)
    probabilities = np.asarray(state.reward_probs)  # [tasks, resets, arms]
    assert (probabilities == probabilities[:, :1]).all()
    first_is_better = probabilities[:, 0, 0] > 0.5
    assert 10 < first_is_better.sum() < 40
    best = jax.vmap(env.optimal_return)(task)
    np.testing.assert_allclose(best, 20 * probabilities[:, 0].max(-1), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "num_steps", "more"),
    [
        ("bandit", 40, {}),
        ("cartpole", 40, {"ppo": {"rollout_length": 20, "batch_size": 20, "num_epochs": 1}}),
    ],
)
def test_histories_are_collected(name, num_steps, more):
    config = load_config(_CONFIGS[name])
    source = {"num_streams": 2, "num_steps": num_steps, **more}
    config = override(config, source=source, data={"max_compression_depth": 0})
    history = collect(config, np.arange(3))
    spec = make_env(config.env).spec
    chex.assert_shape(history.transition.obs, (3, 2, num_steps, spec.obs_size))
    assert history.transition.obs.dtype == np.float32
    assert np.isfinite(history.transition.next_obs).all()
    assert set(np.unique(history.transition.reward)) <= {0.0, 1.0}


def test_spaces():
    chain = _env("memory_chain").spec
    assert chain.obs_space == Box((0.0, 0.0, -1.0), (1.0, 1.0, 1.0))
    assert (chain.num_actions, chain.horizon, chain.reward_range) == (2, 203, (-1.0, 1.0))
    pole = make_gymnax_family("CartPole-v1", resets_alike=True).spec.obs_space
    assert pole.high[1] == 1.0 and pole.low[3] == -1.0  # Without a bound in the package.
    assert pole.high[0] == pytest.approx(4.8)
    lake = make_gymnax_family("FrozenLake-misc", resets_alike=True)
    assert isinstance(lake.spec.obs_space, Discrete | Box)


@pytest.mark.parametrize(
    ("name", "ranges", "message"),
    [
        ("NoSuch-v1", {}, "NoSuch-v1: gymnax has no such environment"),
        ("Pendulum-v1", {}, "Pendulum-v1: actions are .*; must be discrete"),
        (
            "CartPole-v1",
            {"mass": (0.0, 1.0)},
            "CartPole-v1: no parameter 'mass'; known max_steps_",
        ),
        ("CartPole-v1", {_LIMIT: (3, 5)}, f"CartPole-v1: {_LIMIT} is the horizon: one for all"),
        ("CartPole-v1", {}, "CartPole-v1: all tasks would be the same; give ranges, or"),
        ("CartPole-v1", {"gravity": 9.8}, r"CartPole-v1, gravity: 9.8; must be \(lowest, highest"),
        ("CartPole-v1", {"gravity": (3, 5.0)}, "CartPole-v1, gravity: 3 to 5.0: must be two of a"),
        ("CartPole-v1", {"gravity": (5.0, 3.0)}, "CartPole-v1, gravity: 5.0 to 3.0: must be two"),
    ],
)
def test_mistakes(name, ranges, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        make_gymnax_family(name, ranges)


def test_bounds_of_another_length_are_refused():
    with pytest.raises(ConfigError, match=r"obs_ranges: \(3, 3\) bounds; must be 4$"):
        make_gymnax_family("CartPole-v1", obs_ranges=((0.0,) * 3, (1.0,) * 3))


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    with pytest.raises(ConfigError, match=r"^CartPole-v1: needs gymnax: pip install \.\[gymnax\]"):
        make_gymnax_family("CartPole-v1")
