"""The environment protocol, auto-reset, and exact returns from the tabular model."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np


class EnvSpec(NamedTuple):
    """What a policy must know of a family of tasks; all static."""

    num_actions: int
    obs_sizes: tuple[int, ...]  # Number of values of each coordinate of an observation.
    horizon: int  # Environment steps of an episode.
    reward_levels: tuple[float, ...]  # Every reward that can occur, ascending.


def num_observations(spec: EnvSpec) -> int:
    """How many observations `obs_sizes` allows."""
    return math.prod(spec.obs_sizes)


def all_observations(spec: EnvSpec) -> np.ndarray:
    """Every observation that `obs_sizes` allows, int [observations, O], in row-major order."""
    return np.indices(spec.obs_sizes, np.int32).reshape(len(spec.obs_sizes), -1).T


def observation_index(spec: EnvSpec, obs: jax.Array) -> jax.Array:
    """Row of `all_observations` that an observation is in: int [..., O] -> int [...]."""
    chex.assert_axis_dimension(obs, -1, len(spec.obs_sizes))
    index = jnp.zeros(obs.shape[:-1], jnp.int32)
    for coordinate, size in enumerate(spec.obs_sizes):
        index = index * size + obs[..., coordinate]
    return index


class TabularModel(NamedTuple):
    """A task as tables over states; its transitions are deterministic."""

    next_state: jax.Array  # int [states, A]
    reward: jax.Array  # float [states, A]
    initial: jax.Array  # float [states], probabilities of the first state.


class Env(Protocol):
    """A family of tasks as pure functions of a traced task, so that tasks `vmap`."""

    @property
    def spec(self) -> EnvSpec:
        """Static facts."""

    @property
    def tasks(self) -> np.ndarray:
        """Every task of the family, int [G, ...]; static."""

    def reset(self, key: jax.Array, task: jax.Array) -> Any:
        """First state of an episode; `key` is consumed."""

    def observe(self, env_state: Any) -> jax.Array:
        """Observation of a state, int [O]."""

    def step(
        self, env_state: Any, action: jax.Array, task: jax.Array
    ) -> tuple[Any, jax.Array, jax.Array]:
        """Next state, reward (float []) and whether it is terminal (bool [])."""

    def tabular(self, task: jax.Array) -> TabularModel:
        """The task as tables."""

    def state_index(self, obs: jax.Array) -> jax.Array:
        """Row of the tables that an observation stands for: int [..., O] -> int [...]."""


class EpisodeState(NamedTuple):
    """Environment state plus the steps taken in the episode."""

    env_state: Any
    time: jax.Array  # int [].


class TimeStep(NamedTuple):
    """What a step of an auto-resetting environment returns."""

    state: EpisodeState  # After the reset, if there was one.
    obs: jax.Array  # int [O], of `state`: what the policy sees next.
    next_obs: jax.Array  # int [O], before any reset: where the action led.
    reward: jax.Array  # float [].
    terminated: jax.Array  # bool [], a terminal state was reached.
    truncated: jax.Array  # bool [], the horizon was reached.


def reset(env: Env, key: jax.Array, task: jax.Array) -> tuple[EpisodeState, jax.Array]:
    """Starts an episode.

    Args:
        env: the environment.
        key: PRNG key, consumed.
        task: int [...], one task.

    Returns:
        The state and its observation, int [O].
    """
    env_state = env.reset(key, task)
    return EpisodeState(env_state, jnp.zeros((), jnp.int32)), env.observe(env_state)


def step(
    env: Env, key: jax.Array, state: EpisodeState, action: jax.Array, task: jax.Array
) -> TimeStep:
    """Acts once; starts the next episode at a terminal state or at the horizon.

    Args:
        env: the environment.
        key: PRNG key for a reset, consumed.
        state: the state to act in.
        action: int [].
        task: int [...], one task.

    Returns:
        The time step, with the final observation apart from the next episode's first.
    """
    chex.assert_rank(action, 0)
    env_state, reward, terminated = env.step(state.env_state, action, task)
    time = state.time + 1
    truncated = time >= env.spec.horizon
    continued = EpisodeState(env_state, time)
    restarted, _ = reset(env, key, task)
    done = terminated | truncated
    after = jax.tree.map(lambda a, b: jnp.where(done, a, b), restarted, continued)
    return TimeStep(
        state=after,
        obs=env.observe(after.env_state),
        next_obs=env.observe(env_state),
        reward=reward,
        terminated=terminated,
        truncated=truncated,
    )


def optimal_return(model: TabularModel, horizon: int) -> jax.Array:
    """Expected return of the best policy over one episode, by backward induction.

    V_h(s) = max_a r(s, a) + V_{h-1}(s'), with h steps to go.

    Args:
        model: one task.
        horizon: environment steps of an episode.

    Returns:
        float [], undiscounted.
    """
    return _backward(model, horizon, lambda q: q.max(-1))


def random_return(model: TabularModel, horizon: int) -> jax.Array:
    """Expected return of uniformly random actions over one episode; see `optimal_return`."""
    return _backward(model, horizon, lambda q: q.mean(-1))


def _backward(model: TabularModel, horizon: int, value_of: Any) -> jax.Array:
    chex.assert_equal_shape([model.next_state, model.reward])

    def back_up(value: jax.Array, _: None) -> tuple[jax.Array, None]:
        return value_of(model.reward + value[model.next_state]), None

    value, _ = jax.lax.scan(back_up, jnp.zeros_like(model.initial), length=horizon)
    return model.initial @ value


def solve_tasks(
    env: Env, tasks: np.ndarray, solve: Callable[[TabularModel, int], jax.Array]
) -> jax.Array:
    """Applies `optimal_return` or `random_return` to each task, int [G, ...] -> float [G]."""
    solve_all = jax.vmap(lambda task: solve(env.tabular(task), env.spec.horizon))
    return jax.jit(solve_all)(tasks)
