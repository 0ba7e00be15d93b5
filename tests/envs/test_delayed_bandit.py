"""The delayed bandit in lockstep with an independent oracle; its noise, waits and tasks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from compad_jax.envs import make_env, protocol
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.tabular import optimal_returns, random_returns
from compad_jax.envs.waiting import Waits
from tests.builders import play, random_keys


class OracleBandit:
    """One episode after the other; written from the description, not from the code."""

    def __init__(self, means, num_pulls):
        self.means, self.num_pulls = means, num_pulls

    def start(self, wait):
        self.phases = ["pull"] * self.num_pulls + ["wait"] * wait + ["pull"] * self.num_pulls

    def step(self, action):
        """(observation after it, mean reward or None while waiting, terminal)."""
        mean = self.means[action] if self.phases.pop(0) == "pull" else None
        obs = int(bool(self.phases) and self.phases[0] == "wait")
        return obs, mean, not self.phases


def _play(env, num_steps, tasks, arm=None):
    num_tasks = len(tasks)
    actions = np.random.default_rng(0).integers(env.num_arms, size=(num_steps, num_tasks))
    if arm is not None:
        actions[:] = arm
    keys = random_keys((num_steps + 1, num_tasks))
    first, timesteps = jax.device_get(jax.jit(lambda k: play(env, k, actions, tasks))(keys))
    return actions, keys, first, timesteps


@pytest.mark.parametrize("waits", [{}, {"wait": 7}, {"max_wait": 9}])
def test_lockstep_with_the_oracle(waits):
    env = DelayedBandit(num_arms=4, num_pulls=5, waits=Waits(**waits))
    assert env.spec.horizon == 10 + max(waits.values(), default=0)
    tasks = make_tasks(env, np.arange(20))
    actions, keys, first, timesteps = _play(env, 200, tasks)
    chex.assert_shape([timesteps.obs, timesteps.next_obs], (200, 20, 1))
    chex.assert_type([timesteps.obs, timesteps.reward], [jnp.int32, jnp.float32])
    np.testing.assert_array_equal(first, 0)
    first_wait = np.asarray(jax.vmap(lambda k: env.reset(k, None)[0].wait)(keys[-1]))
    wait, residuals = timesteps.state.env_state.wait, []
    for g in range(20):
        oracle = OracleBandit(np.asarray(tasks[g]), 5)
        oracle.start(first_wait[g])
        for t in range(200):
            where = f"task {g}, step {t}"
            obs, mean, terminal = oracle.step(timesteps.action[t, g])
            assert timesteps.distracted[t, g] == (mean is None), where
            if mean is None:
                assert timesteps.reward[t, g] == 0, where
            else:
                assert timesteps.action[t, g] == actions[t, g], where
                residuals.append(timesteps.reward[t, g] - mean)
            assert timesteps.next_obs[t, g, 0] == obs, where
            assert timesteps.terminated[t, g] == terminal, where
            assert timesteps.obs[t, g, 0] == (0 if terminal else obs), where
            if terminal:
                oracle.start(wait[t, g])
    assert scipy.stats.kstest(residuals, scipy.stats.norm(0, 0.3).cdf).pvalue > 1e-3


def test_distraction_actions_are_uniform_whatever_the_policy_wants():
    env = DelayedBandit(num_arms=4, num_pulls=2, waits=Waits(100))
    actions, _, _, timesteps = _play(env, 400, make_tasks(env, np.arange(10)), arm=3)
    counts = np.bincount(timesteps.action[timesteps.distracted], minlength=4)
    assert counts.sum() > 3000
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert (timesteps.action == actions)[~timesteps.distracted].all()
    assert abs(np.corrcoef(timesteps.action[5:90, 0], timesteps.action[5:90, 1])[0, 1]) < 0.3


def test_waits_are_log_uniform():
    env, num_episodes = DelayedBandit(waits=Waits(max_wait=20)), 20_000
    reset = jax.jit(jax.vmap(lambda k: env.reset(k, None)[0].wait))
    counts = np.bincount(np.asarray(reset(random_keys(num_episodes))), minlength=21)
    assert len(counts) == 21
    wait = np.arange(21)
    expected = num_episodes * np.log((wait + 2) / (wait + 1)) / np.log(22)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


def test_tasks_are_drawn_from_their_numbers():
    env = DelayedBandit()
    assert env.num_tasks == 2**31 - 1
    indices = np.concatenate([np.arange(2000), [env.num_tasks - 1]])
    means = np.asarray(make_tasks(env, indices))
    chex.assert_shape(means, (2001, 10))
    assert scipy.stats.kstest(means.ravel(), "uniform").pvalue > 1e-3
    assert len(np.unique(means[:, 0])) > 1990
    np.testing.assert_array_equal(make_tasks(env, indices[:3]), means[:3])
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(env.task(jnp.array(1)), means[1])


def test_returns_of_the_best_and_of_a_random_arm():
    env = DelayedBandit(num_arms=2, num_pulls=50, waits=Waits(30))
    tasks = jnp.array([[0.25, 0.75], [0.5, 0.0]])
    np.testing.assert_allclose(optimal_returns(env, tasks), [75, 50])
    np.testing.assert_allclose(random_returns(env, tasks), [50, 25])


def test_final_observation_is_not_the_next_start():
    """Of one pull and a wait the last step ends in a distraction if the episode went on."""
    env, task = DelayedBandit(num_arms=2, num_pulls=1, waits=Waits(1)), jnp.zeros(2)
    state, _ = protocol.reset(env, jax.random.key(0), task)
    flags = []
    for t in range(3):
        timestep = protocol.step(env, jax.random.key(t), state, jnp.array(0), task)
        state = timestep.state
        flags.append((int(timestep.next_obs[0]), bool(timestep.distracted), bool(timestep.done)))
    assert flags == [(1, False, False), (0, True, False), (0, False, True)]


def test_settings_reach_the_environment(debug_config):
    config = debug_config.env.__class__(name="delayed_bandit", max_wait=300)
    assert make_env(config) == DelayedBandit(10, 0.3, 50, Waits(-1, 300))
