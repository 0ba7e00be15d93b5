"""Thompson sampling: its beliefs by hand, its probabilities by drawing, its pulls from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import SourceConfig, ThompsonConfig
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.waiting import Waits
from compad_jax.sources import make_source, thompson

best_arm_probabilities = jax.jit(thompson.best_arm_probabilities)


def _learn(env, tasks, num_streams, num_steps, config):
    settings = SourceConfig("thompson", num_streams, num_steps, thompson=config)
    keys = jax.random.split(jax.random.key(0), len(tasks))
    return jax.device_get(jax.jit(jax.vmap(make_source(settings, env)))(keys, tasks))


@pytest.mark.parametrize("num_arms", [2, 5, 10])
def test_probabilities_are_those_of_drawing_means(num_arms):
    rng = np.random.default_rng(num_arms)
    mean, std = rng.uniform(size=(3, num_arms)), rng.uniform(0.05, 0.4, size=(3, num_arms))
    exact = np.asarray(best_arm_probabilities(jnp.asarray(mean), jnp.asarray(std)))
    draws = mean + std * rng.normal(size=(200_000, 3, num_arms))
    drawn = np.stack([np.bincount(x, minlength=num_arms) for x in draws.argmax(-1).T]) / 200_000
    np.testing.assert_allclose(exact, drawn, atol=0.006)  # Five standard deviations.
    np.testing.assert_allclose(exact.sum(-1), 1, rtol=1e-5)


def test_a_sure_belief_leaves_no_doubt():
    probabilities = best_arm_probabilities(jnp.array([0.2, 0.8, 0.5]), jnp.full(3, 1e-3))
    np.testing.assert_allclose(probabilities, [0, 1, 0], atol=1e-6)


def test_lockstep_with_beliefs_in_numpy():
    config = ThompsonConfig(prior_mean=0.4, prior_std=0.5, noise_std=0.2)
    env = DelayedBandit(num_arms=4, num_pulls=15, waits=Waits(max_wait=20))
    history = _learn(env, make_tasks(env, np.arange(3)), 2, 120, config)
    obs, action, reward, *_ = history.transition
    for g, r in np.ndindex(3, 2):
        seen = [[] for _ in range(4)]
        for t in range(120):
            policy = np.exp(history.log_probs[g, r, t])
            if obs[g, r, t, 0] == 1:
                np.testing.assert_allclose(policy, 0.25, rtol=1e-5)
                continue
            mean, variance = np.empty(4), np.empty(4)
            for arm in range(4):
                variance[arm] = 1 / (1 / 0.25 + len(seen[arm]) / 0.04)
                mean[arm] = variance[arm] * (0.4 / 0.25 + sum(seen[arm]) / 0.04)
            expected = best_arm_probabilities(jnp.asarray(mean), jnp.asarray(variance**0.5))
            np.testing.assert_allclose(policy, expected, atol=2e-3)
            seen[action[g, r, t]].append(reward[g, r, t])


def test_pulls_follow_the_probabilities_and_find_the_best_arm():
    env = DelayedBandit(num_arms=5, noise=0.3, num_pulls=50)
    tasks = make_tasks(env, np.arange(4))
    history = _learn(env, tasks, 60, 100, ThompsonConfig())
    action = np.asarray(history.transition.action)
    # Before anything is known every arm is as likely as the others.
    first = np.bincount(action[:, :, 0].ravel(), minlength=5) / 240
    np.testing.assert_allclose(first, 0.2, atol=0.08)
    expected = np.exp(history.log_probs)[:, :, 50:].mean((1, 2))
    taken = np.stack([(action[:, :, 50:] == arm).mean((1, 2)) for arm in range(5)], -1)
    np.testing.assert_allclose(taken, expected, atol=0.02)
    earned = np.take_along_axis(np.asarray(tasks)[:, None], action[:, :, 80:], axis=-1).mean()
    assert earned > np.asarray(tasks).mean() + 0.75 * (
        np.asarray(tasks).max(-1).mean() - np.asarray(tasks).mean()
    )
