"""UCB in lockstep with a NumPy oracle, through distraction and over episodes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import SourceConfig, UcbConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.waiting import Waits
from compad_jax.sources import make_source
from compad_jax.sources.ucb import ucb_index

_STREAMS, _STEPS = 3, 200


def _learn(env, tasks, bonus_weight=1.0, seed=0):
    settings = SourceConfig("ucb", _STREAMS, _STEPS, ucb=UcbConfig(bonus_weight))
    keys = jax.random.split(jax.random.key(seed), len(tasks))
    return jax.device_get(jax.jit(jax.vmap(make_source(settings, env)))(keys, tasks))


@pytest.mark.parametrize("bonus_weight", [1.0, 0.2])
def test_lockstep_with_the_oracle(bonus_weight):
    env = DelayedBandit(num_arms=6, num_pulls=20, waits=Waits(max_wait=30))
    history = _learn(env, make_tasks(env, np.arange(5)), bonus_weight)
    chex.assert_shape(history.log_probs, (5, _STREAMS, _STEPS, 6))
    obs, action, reward, _, done = history.transition
    distracted = obs[..., 0] == 1
    assert distracted.any((0, 2)).all()
    assert done.any(-1).all()
    for g, r in np.ndindex(5, _STREAMS):
        pulls, total = np.zeros(6), np.zeros(6, np.float32)
        for t in range(_STEPS):
            where = f"task {g}, stream {r}, step {t}"
            policy = np.exp(history.log_probs[g, r, t])
            arm = action[g, r, t]
            if distracted[g, r, t]:
                np.testing.assert_allclose(policy, 1 / 6, rtol=1e-6, err_msg=where)
                assert reward[g, r, t] == 0
                continue
            unseen = np.flatnonzero(pulls == 0)
            if len(unseen):
                assert arm == unseen[0], where
            else:
                index = total / pulls + bonus_weight / np.sqrt(pulls)
                assert index[arm] >= index.max() - 1e-5, where
            np.testing.assert_array_equal(policy, np.eye(6)[arm], err_msg=where)
            pulls[arm] += 1
            total[arm] += reward[g, r, t]


def test_index_of_known_and_unknown_arms():
    index = ucb_index(jnp.array([4.0, 0.0, 1.0]), jnp.array([2.0, 0.0, -1.0]), 3.0)
    np.testing.assert_allclose(index, [2.0, np.inf, 2.0])


def test_the_first_of_equal_arms_is_pulled():
    env = DelayedBandit(num_arms=3, noise=0.0, num_pulls=50)
    history = _learn(env, jnp.full((1, 3), 0.5))
    np.testing.assert_array_equal(history.transition.action[0, 0, :30], np.arange(30) % 3)


def test_finds_the_best_arm_and_remembers_it_in_the_next_episode():
    env = DelayedBandit(num_arms=5, noise=0.1, num_pulls=20, waits=Waits(10))
    tasks = jnp.asarray(
        np.random.default_rng(0).permuted(np.tile([0.1, 0.2, 0.3, 0.9, 0.2], (8, 1)), axis=1)
    )
    action = _learn(env, tasks, 0.3).transition.action
    assert (action[:, :, 150:170] == tasks.argmax(-1)[:, None, None]).mean() > 0.9


def test_streams_see_noise_of_their_own_and_the_key_decides():
    env = DelayedBandit(num_arms=4, num_pulls=20, waits=Waits(max_wait=5))
    tasks = make_tasks(env, np.arange(2))
    history = _learn(env, tasks)
    reward = history.transition.reward.reshape(2 * _STREAMS, _STEPS)
    assert len(np.unique(reward, axis=0)) == len(reward)
    chex.assert_trees_all_equal(_learn(env, tasks), history)
    assert (_learn(env, tasks, seed=1).transition.reward != history.transition.reward).any()


def test_an_environment_without_arms_is_refused():
    with pytest.raises(ConfigError, match=r"^source\.name='ucb': .* actions are arms$"):
        make_source(SourceConfig("ucb"), DarkRoom())
