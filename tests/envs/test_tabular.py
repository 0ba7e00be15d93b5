"""Exact returns of tasks with chance and terminal states, by brute force and by playing."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.envs import protocol, tabular
from compad_jax.envs.protocol import Box, Discrete, EnvSpec
from compad_jax.envs.tabular import TabularModel
from compad_jax.models.tokens import obs_features
from tests.builders import random_keys

_STATES, _ACTIONS, _OUTCOMES = 4, 2, 3


def _random_model(seed):
    """Tables of random outcomes; one or two states are terminal, and an episode may start there."""
    rng = np.random.default_rng(seed)
    shape = (_STATES, _ACTIONS, _OUTCOMES)
    terminal = np.zeros(_STATES, bool)
    terminal[rng.choice(_STATES, rng.integers(1, 3), replace=False)] = True
    return TabularModel(
        next_state=rng.integers(_STATES, size=shape),
        probability=rng.dirichlet(np.ones(_OUTCOMES), shape[:2]).astype(np.float32),
        reward=rng.normal(size=shape[:2]).astype(np.float32),
        terminal=terminal,
        initial=rng.dirichlet(np.ones(_STATES)).astype(np.float32),
    )


def _return_of(model, policy, state, steps_to_go):
    """Expected return of a policy, int [horizon, states], by walking every branch."""
    if steps_to_go == 0 or model.terminal[state]:
        return 0.0
    action = policy[steps_to_go - 1][state]
    total = float(model.reward[state, action])
    for after, probability in zip(
        model.next_state[state, action], model.probability[state, action], strict=True
    ):
        total += float(probability) * _return_of(model, policy, after, steps_to_go - 1)
    return total


def _all_policies(horizon):
    """Every deterministic policy that may depend on the time."""
    a_time = list(itertools.product(range(_ACTIONS), repeat=_STATES))
    return itertools.product(a_time, repeat=horizon)


@pytest.mark.parametrize("horizon", [1, 2])
def test_returns_equal_those_of_all_policies(horizon):
    solve = jax.jit(
        lambda m: (tabular.optimal_return(m, horizon), tabular.random_return(m, horizon))
    )
    for seed in range(6):
        model = _random_model(seed)
        returns = [
            sum(model.initial[s] * _return_of(model, policy, s, horizon) for s in range(_STATES))
            for policy in _all_policies(horizon)
        ]
        optimum, at_random = solve(model)
        np.testing.assert_allclose(optimum, max(returns), atol=1e-5)
        np.testing.assert_allclose(at_random, np.mean(returns), atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Played:
    """The environment that a model describes."""

    model: Any
    horizon: int

    @property
    def spec(self):
        return EnvSpec(_ACTIONS, Discrete((_STATES,)), self.horizon)

    def reset(self, key, task):
        live = jnp.where(self.model.terminal, 0, self.model.initial)
        state = jax.random.choice(key, _STATES, p=live / live.sum())
        return state, state[None]

    def step(self, key, env_state, action, task):
        outcome = jax.random.choice(key, _OUTCOMES, p=self.model.probability[env_state, action])
        after = self.model.next_state[env_state, action, outcome]
        reward = self.model.reward[env_state, action]
        return after, after[None], reward, self.model.terminal[after]


def test_random_return_equals_monte_carlo_through_auto_resets():
    model, num_steps = jax.tree.map(jnp.asarray, _random_model(3)), 40_000
    env = Played(model, horizon=5)
    live = np.where(model.terminal, 0, model.initial)
    exact = tabular.random_return(model._replace(initial=live / live.sum()), 5)

    @jax.jit
    def run(keys, actions):
        def act(state, inputs):
            timestep = protocol.step(env, inputs[0], state, inputs[1], None)
            return timestep.state, (timestep.reward, timestep.terminated, timestep.truncated)

        state, _ = protocol.reset(env, jax.random.key(0), None)
        return jax.lax.scan(act, state, (keys, actions))[1]

    actions = np.random.default_rng(0).integers(_ACTIONS, size=num_steps)
    reward, terminated, truncated = jax.device_get(run(random_keys(num_steps), actions))
    assert (terminated & ~truncated).any()
    assert (truncated & ~terminated).any()
    ends = np.flatnonzero(terminated | truncated) + 1
    returns = np.array([episode.sum() for episode in np.split(reward, ends)[:-1]])
    error = returns.std() / len(returns) ** 0.5
    assert error < 0.03
    assert abs(returns.mean() - exact) < 3.5 * error


@dataclasses.dataclass(frozen=True)
class Drift:
    """A point on a line with real-valued observations of place and velocity."""

    spec = EnvSpec(2, Box((-2.0, 0.0), (2.0, 10.0)), 4)

    def reset(self, key, task):
        place = jax.random.uniform(key, minval=-1.0)
        return place, jnp.stack([place, jnp.zeros(())])

    def step(self, key, env_state, action, task):
        velocity = (action * 2 - 1) * task
        place = env_state + velocity
        return place, jnp.stack([place, velocity]), -jnp.abs(place), jnp.abs(place) > 2


def test_an_environment_with_real_observations():
    env, task = Drift(), jnp.array(0.5)
    state, obs = protocol.reset(env, jax.random.key(0), task)
    assert (obs.shape, obs.dtype, env.spec.obs_dtype) == ((2,), jnp.float32, jnp.float32)
    place = float(obs[0])
    for t in range(4):
        timestep = protocol.step(env, jax.random.key(t), state, jnp.array(t % 2), task)
        state, place = timestep.state, place + (0.5 if t % 2 else -0.5)
        np.testing.assert_allclose(timestep.next_obs, [place, 0.5 if t % 2 else -0.5], rtol=1e-5)
    assert timestep.truncated
    assert timestep.obs[0] != timestep.next_obs[0]
    features = obs_features(jnp.array([[-2.0, 10.0], [1.0, 2.5], [4.0, 0.0]]), env.spec)
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(features, [[-1, 1], [0.5, -0.5], [2, -1]], rtol=1e-6)
    assert protocol.num_observations(env.spec) == np.inf
