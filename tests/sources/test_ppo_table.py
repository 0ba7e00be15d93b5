"""Networks evaluated on all observations give the same as on every sample."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import PpoConfig
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.protocol import Discrete, EnvSpec, all_observations, num_observations
from compad_jax.sources import ppo, ppo_update
from compad_jax.sources.actor_critic import ActorCritic, tabulate
from compad_jax.sources.ppo_loss import Samples, make_tally, ppo_loss, tally_loss

pytestmark = pytest.mark.timeout(120)

SPEC = EnvSpec(5, Discrete((3, 4)), 10)
TABLE = jnp.asarray(all_observations(SPEC.obs_space))
NETWORK = ActorCritic(SPEC, hidden=16, critic_gain=1.0)
CONFIG = PpoConfig(entropy_weight=0.1)
BATCH = 100


def _params(seed):
    """Weights whose policy is far from uniform, so that ratios leave the clip."""
    params = NETWORK.init(jax.random.key(seed), TABLE)["params"]
    head = jax.tree.map(lambda x: 50 * x, params["actor_head"])
    return {"params": params | {"actor_head": head}}


@pytest.fixture(scope="module")
def samples():
    """Noise in all cells but the last, acted by one policy."""
    keys = jax.random.split(jax.random.key(0), 4)
    obs = TABLE[jax.random.randint(keys[0], (BATCH,), 0, len(TABLE) - 1)]
    action = jax.random.randint(keys[1], (BATCH,), 0, SPEC.num_actions)
    log_probs, _ = NETWORK.apply(_params(0), obs)
    log_prob = jnp.take_along_axis(log_probs, action[:, None], axis=-1)[:, 0]
    advantage, target = jax.random.normal(keys[2], (2, BATCH)) + 0.5
    return Samples(obs, action, log_prob, advantage, target)


def test_loss_and_gradient_of_a_tally_equal_those_of_its_samples(samples):
    def direct(params):
        return ppo_loss(*NETWORK.apply(params, samples.obs), samples, CONFIG)

    def by_table(params):
        tally = make_tally(samples, SPEC.obs_space, SPEC.num_actions)
        return tally_loss(*NETWORK.apply(params, TABLE), tally, CONFIG)

    params = _params(1)
    now, _ = NETWORK.apply(params, samples.obs)
    ratio = jnp.exp(jnp.take_along_axis(now, samples.action[:, None], -1)[:, 0] - samples.log_prob)
    for clipped in (ratio > 1.2, ratio < 0.8):  # On both sides, with either sign.
        assert len(np.unique(np.sign(samples.advantage[clipped]))) == 2
    expected, expected_gradient = jax.value_and_grad(direct)(params)
    loss, gradient = jax.value_and_grad(by_table)(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    chex.assert_trees_all_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_cells_without_samples_count_nothing_however_unlikely_they_became(samples):
    log_probs = jnp.zeros((len(TABLE), SPEC.num_actions)).at[-1].set(-1e4)
    gradient = jax.grad(tally_loss)(
        log_probs,
        jnp.zeros(len(TABLE)),
        make_tally(samples, SPEC.obs_space, SPEC.num_actions),
        PpoConfig(),
    )
    assert jnp.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[-1], 0)


def test_a_tabulated_network_is_the_network(samples):
    def network_fn(obs):
        return NETWORK.apply(_params(2), obs)

    obs = samples.obs.reshape(20, 5, 2)
    chex.assert_trees_all_close(
        tabulate(network_fn, SPEC.obs_space)(obs), network_fn(obs), atol=1e-6
    )


def test_updates_equal_whether_by_table_or_by_samples(monkeypatch):
    """Whole histories agree: the same actions, and log-probabilities up to rounding."""
    env = DarkRoom(grid_size=3, horizon=5)
    config = PpoConfig(rollout_length=10, batch_size=40, num_epochs=2)

    def learn():
        source = jax.jit(ppo.make_ppo(env, config, num_streams=8, num_steps=30))
        return source(jax.random.key(0), jnp.array((0, 1)))

    by_table = learn()
    monkeypatch.setattr(ppo.protocol, "num_observations", lambda spec: 10**9)
    direct = learn()
    chex.assert_trees_all_equal(by_table.transition, direct.transition)
    np.testing.assert_allclose(by_table.log_probs, direct.log_probs, atol=1e-4)


def test_observations_are_numbered_in_the_order_of_the_table():
    assert num_observations(SPEC) == len(TABLE) == 12
    index = ppo.protocol.observation_index(SPEC.obs_space, TABLE.reshape(3, 4, 2))
    np.testing.assert_array_equal(index, np.arange(12).reshape(3, 4))


@pytest.mark.parametrize("size", [1, 2, 1000, 8192])
def test_a_shuffle_is_a_permutation(size):
    order = ppo_update.shuffle(jax.random.key(0), size)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_a_shuffle_sends_every_place_everywhere():
    keys = jax.random.split(jax.random.key(0), 20_000)
    orders = np.asarray(jax.vmap(lambda key: ppo_update.shuffle(key, 5))(keys))
    for place in range(5):
        np.testing.assert_allclose(np.bincount(orders[:, place]) / 20_000, 0.2, atol=0.015)
