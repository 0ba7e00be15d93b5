"""The environment protocol, its spaces, and auto-reset.

An environment is a family of tasks as pure functions of a traced task, so that tasks `vmap`.
Whoever adds one writes a frozen dataclass with the members of `Env`, adds what it has of the
optional ones (`TabularEnv`, `MappedEnv`, `FinishableEnv`, `BanditEnv`, `HidingEnv`, `GuidedEnv`;
`optimal_return`, `random_return`, `fewest_steps`, `decision_values`, `judged_as`; `distractor`,
`recalls`), and calls `compad_jax.envs.register_env`.
"""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.types import Transition


class Discrete(NamedTuple):
    """Observations of integer coordinates, int [O]."""

    sizes: tuple[int, ...]  # Coordinate i lies in [0, sizes[i]).


class Box(NamedTuple):
    """Observations of real numbers, float [O]."""

    low: tuple[float, ...]  # Where a coordinate usually lies: it is scaled by these bounds,
    high: tuple[float, ...]  # but may leave them.


class EnvSpec(NamedTuple):
    """What a policy must know of a family of tasks; all static."""

    num_actions: int
    obs_space: Discrete | Box
    horizon: int  # Environment steps after which an episode is cut off.
    reward_range: tuple[float, float] = (0.0, 1.0)  # Usual rewards; they are scaled by it.

    @property
    def obs_size(self) -> int:
        """Number of coordinates of an observation, O."""
        return len(self.obs_space[0])

    @property
    def obs_dtype(self) -> Any:
        """int32 or float32."""
        return jnp.int32 if isinstance(self.obs_space, Discrete) else jnp.float32


class Env(Protocol):
    """A family of tasks; a task and a state are pytrees of arrays, whatever the family needs."""

    @property
    def spec(self) -> EnvSpec:
        """Static facts."""

    @property
    def num_tasks(self) -> int:
        """Size of the family; it may be huge, since tasks are made when they are needed."""

    def task(self, index: jax.Array) -> Any:
        """The task of a number, int [] in [0, num_tasks): enumerated, or drawn by it."""

    def reset(self, key: jax.Array, task: Any) -> tuple[Any, jax.Array]:
        """First state of an episode and its observation [O]; `key` is consumed."""

    def step(
        self, key: jax.Array, env_state: Any, action: jax.Array, task: Any
    ) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        """Next state, its observation [O], reward (float []) and whether it is terminal."""


@runtime_checkable
class TabularEnv(Env, Protocol):
    """An environment that can also be written down as tables over its states."""

    def tabular(self, task: Any) -> Any:
        """The task as a `tabular.TabularModel`."""

    def state_index(self, env_state: Any) -> jax.Array:
        """Row of the tables that a state stands for, int []."""


@runtime_checkable
class MappedEnv(Env, Protocol):
    """An environment with a map that no task changes: where one is, and where moves lead.

    Rewards lie in places; in stage n of an episode, after n rewards, one place pays. Each action
    is one of the moves: action n is move n, unless `moves_are_permuted` is there and true; then
    the task decides which.
    """

    @property
    def num_stages(self) -> int | None:
        """Rewards of an episode; None: one place pays again and again."""

    def next_places(self) -> np.ndarray:
        """The place that each move leads to, int [places, A]."""

    def place(self, env_state: Any) -> jax.Array:
        """Row of the map that a state stands for, int []."""


@runtime_checkable
class FinishableEnv(Env, Protocol):
    """An environment that knows when an episode has no reward left; a wait may then follow."""

    def is_finished(self, env_state: Any) -> jax.Array:
        """Whether nothing is left to earn in this episode: bool []."""


@runtime_checkable
class BanditEnv(Env, Protocol):
    """An environment in which an action is an arm: what it pays depends on nothing else."""

    @property
    def num_arms(self) -> int:
        """Number of actions."""


@runtime_checkable
class HidingEnv(Env, Protocol):
    """An environment that can show what its observations hide of a state; both are integers."""

    @property
    def hidden_space(self) -> Discrete:
        """What `hidden` may be."""

    def hidden(self, env_state: Any) -> jax.Array:
        """The rest of a state, int [H]."""


@runtime_checkable
class GuidedEnv(Env, Protocol):
    """An environment that can tell what would have been best in a history."""

    def optimal_actions(self, transition: Transition, task: Any) -> jax.Array:
        """An optimal policy of who knows the task, wherever a history [T] stood: float [T, A].

        Probabilities; equals are equally likely.
        """


def make_tasks(env: Env, indices: np.ndarray) -> Any:
    """The tasks of some numbers, int [G] -> task [G, ...]."""
    return jax.jit(jax.vmap(env.task))(jnp.asarray(indices, jnp.int32))


def num_observations(spec: EnvSpec) -> float:
    """How many observations a space allows; infinitely many where they are real numbers."""
    return math.prod(spec.obs_space.sizes) if isinstance(spec.obs_space, Discrete) else math.inf


def all_observations(space: Discrete) -> np.ndarray:
    """Every observation of a space, int [observations, O], in row-major order."""
    return np.indices(space.sizes, np.int32).reshape(len(space.sizes), -1).T


def observation_index(space: Discrete, obs: jax.Array) -> jax.Array:
    """Row of `all_observations` that an observation is in: int [..., O] -> int [...]."""
    chex.assert_axis_dimension(obs, -1, len(space.sizes))
    index = jnp.zeros(obs.shape[:-1], jnp.int32)
    for coordinate, size in enumerate(space.sizes):
        index = index * size + obs[..., coordinate]
    return index


class EpisodeState(NamedTuple):
    """Environment state plus the steps taken in the episode."""

    env_state: Any
    time: jax.Array  # int [].


class TimeStep(NamedTuple):
    """What a step of an auto-resetting environment returns."""

    state: EpisodeState  # After the reset, if there was one.
    obs: jax.Array  # [O], of `state`: what the policy sees next.
    action: jax.Array  # int [], taken: the environment's own where it distracts.
    reward: jax.Array  # float [].
    next_obs: jax.Array  # [O], before any reset: where the action led.
    next_env_state: Any  # Likewise.
    terminated: jax.Array  # bool [], a terminal state was reached.
    truncated: jax.Array  # bool [], the horizon was reached.
    distracted: jax.Array  # bool [], the environment drew the action, uniformly.

    @property
    def done(self) -> jax.Array:
        """Bool [], the episode ended with this step."""
        return self.terminated | self.truncated


def reset(env: Env, key: jax.Array, task: Any) -> tuple[EpisodeState, jax.Array]:
    """Starts an episode: its state and observation, [O]; the key is consumed."""
    env_state, obs = env.reset(key, task)
    return EpisodeState(env_state, jnp.zeros((), jnp.int32)), obs


def step(env: Env, key: jax.Array, state: EpisodeState, action: jax.Array, task: Any) -> TimeStep:
    """Acts once, int []; starts the next episode at a terminal state or at the horizon.

    Where the environment has a method `distractor(env_state) -> bool []` and it says yes, the
    action is replaced by a uniformly random one: no policy can use such steps to take notes. The
    key is consumed.

    Returns:
        The time step, with the final observation apart from the next episode's first.
    """
    chex.assert_rank(action, 0)
    step_key, reset_key, action_key = jax.random.split(key, 3)
    distracted = jnp.zeros((), bool)
    if hasattr(env, "distractor"):
        distracted = env.distractor(state.env_state)
        own = jax.random.randint(action_key, (), 0, env.spec.num_actions, action.dtype)
        action = jnp.where(distracted, own, action)
    env_state, next_obs, reward, terminated = env.step(step_key, state.env_state, action, task)
    time = state.time + 1
    truncated = time >= env.spec.horizon
    continued = EpisodeState(env_state, time), next_obs
    after, obs = jax.tree.map(
        lambda first, same: jnp.where(terminated | truncated, first, same),
        reset(env, reset_key, task),
        continued,
    )
    return TimeStep(
        state=after,
        obs=obs,
        action=action,
        reward=reward,
        next_obs=next_obs,
        next_env_state=env_state,
        terminated=terminated,
        truncated=truncated,
        distracted=distracted,
    )


def recalls(env: Env, state: EpisodeState) -> jax.Array:
    """In which states of B episodes an action can show what was learned before a wait: bool [B].

    Where the environment has a method `recalls(env_state) -> bool []`, as it says; otherwise in
    all in which it does not distract.
    """
    if hasattr(env, "recalls"):
        return jax.vmap(env.recalls)(state.env_state)
    if hasattr(env, "distractor"):
        return ~jax.vmap(env.distractor)(state.env_state)
    return jnp.ones(state.time.shape, bool)
