"""Families of tasks out of gymnax environments: other parameters, or another luck of the reset.

    pip install .[gymnax]

An environment with discrete actions becomes a family whose tasks are values of its parameters, as
far as these may be traced. Whoever knows more of it, such as its optimum, writes a subclass with
further members of the protocol. `configs/gymnax/` has three families.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config.checks import ConfigError, require
from compad_jax.envs.protocol import Box, Discrete, EnvSpec

_MAX_TASKS = 2**31 - 1
_UNBOUNDED = 1e3  # Larger bounds of an observation say nothing about its usual size.
_TIME_LIMIT = "max_steps_in_episode"


class GymnaxTask(NamedTuple):
    """One task."""

    number: jax.Array  # int []
    values: dict[str, jax.Array]  # Of the parameters that differ among tasks, [] each.


@dataclasses.dataclass(frozen=True)
class GymnaxFamily:
    """A gymnax environment as a family of tasks; see `make_gymnax_family`.

    Its states, observations and rewards are the package's own, whatever their quirks; an episode
    is terminal where the package says so, and cut off at the parameters' time limit.
    """

    env: Any  # Of the package, version 1.
    params: Any  # Those that all tasks share.
    ranges: tuple[tuple[str, float, float], ...]  # Parameter, lowest and highest value.
    resets_alike: bool
    spec: EnvSpec

    @property
    def num_tasks(self) -> int:
        """The values of a single whole-number parameter, once each; else as many as numbers."""
        if len(self.ranges) == 1 and isinstance(self.ranges[0][1], int):
            _, low, high = self.ranges[0]
            return int(high) - int(low) + 1
        return _MAX_TASKS

    def task(self, index: jax.Array) -> GymnaxTask:
        """The task of a number: in order if the values are enumerated, or drawn uniformly."""
        if self.num_tasks < _MAX_TASKS:
            name, low, _ = self.ranges[0]
            return GymnaxTask(index, {name: index + int(low)})
        keys = jax.random.split(self._key(index), len(self.ranges) + 1)
        values = {
            name: jax.random.randint(key, (), low, int(high) + 1)
            if isinstance(low, int)
            else jax.random.uniform(key, (), jnp.float32, low, high)
            for key, (name, low, high) in zip(keys[1:], self.ranges, strict=True)
        }
        return GymnaxTask(index, values)

    def _key(self, number: jax.Array) -> jax.Array:
        """What belongs to a task by its number; the generator is named, not JAX's default."""
        return jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), number)

    def params_of(self, task: GymnaxTask) -> Any:
        """The package's parameters of a task."""
        return self.params.replace(**task.values)

    def reset(self, key: jax.Array, task: GymnaxTask) -> tuple[Any, jax.Array]:
        """See `Env`."""
        key = self._key(task.number) if self.resets_alike else key
        obs, env_state = self.env.reset_env(key, self.params_of(task))
        # Some of its leaves are Python numbers at first.
        return jax.tree.map(jnp.asarray, env_state), self._flat(obs)

    def step(
        self, key: jax.Array, env_state: Any, action: jax.Array, task: GymnaxTask
    ) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        """See `Env`; the observation is the one before any reset."""
        obs, after, reward, terminated, _ = self.env.step_env(
            key, env_state, action, self.params_of(task)
        )
        # Some environments change the types of a state from one step to the next.
        after = jax.tree.map(lambda x, old: jnp.asarray(x, old.dtype), after, env_state)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        return after, self._flat(obs), reward, jnp.asarray(terminated, bool).reshape(())

    def _flat(self, obs: Any) -> jax.Array:
        return jnp.asarray(obs, self.spec.obs_dtype).reshape(-1)


def make_gymnax_family(
    name: str,
    ranges: dict[str, tuple[float, float]] | None = None,
    *,
    fixed: dict[str, Any] | None = None,
    resets_alike: bool = False,
    obs_ranges: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    reward_range: tuple[float, float] = (0.0, 1.0),
    make: Callable[..., GymnaxFamily] = GymnaxFamily,
) -> GymnaxFamily:
    """Builds a family.

    Args:
        name: what gymnax calls the environment, for example "CartPole-v1".
        ranges: lowest and highest value of the parameters that are the task, both included; two
            whole numbers mean whole numbers. A single such range is enumerated: its tasks are the
            values in order. Otherwise a task's number draws all values.
        fixed: other values of parameters that all tasks share, such as the time limit.
        resets_alike: whether all episodes of a task start by the same random numbers, so that
            what a reset draws, such as which arm of a bandit pays, is part of the task.
        obs_ranges: where the coordinates of a flattened observation usually lie, low and high;
            None: as the package says, or -1 to 1 where it names no useful bound.
        reward_range: usual rewards.
        make: a subclass with further members of the environment protocol.

    Returns:
        The environment.

    Raises:
        ConfigError: gymnax is not installed or has no such environment, a parameter is unknown or
            no number that may be traced, all tasks are the same, or actions or observations are
            of another kind.
    """
    env, params = _load(name)
    ranges, fixed = ranges or {}, fixed or {}
    for parameter in (*ranges, *fixed):
        known = [field.name for field in dataclasses.fields(params)]
        require(parameter in known, f"{name}: no parameter {parameter!r}; known {', '.join(known)}")
    require(_TIME_LIMIT not in ranges, f"{name}: {_TIME_LIMIT} is the horizon: one for all tasks")
    params = params.replace(**fixed)
    for parameter, values in ranges.items():
        is_range = isinstance(values, tuple) and len(values) == 2
        require(is_range, f"{name}, {parameter}: {values!r}; must be (lowest, highest)")
        low, high = values
        is_pair = type(low) is type(high) and low < high
        require(is_pair, f"{name}, {parameter}: {low} to {high}: must be two of a kind, ascending")
    bounds = tuple((parameter, low, high) for parameter, (low, high) in ranges.items())
    spec = _spec(name, env, params, obs_ranges, reward_range)
    differs = bool(ranges) or resets_alike
    require(differs, f"{name}: all tasks would be the same; give ranges, or resets_alike=True")
    family = make(env, params, bounds, resets_alike, spec)
    _try(name, family)
    return family


def _load(name: str) -> tuple[Any, Any]:
    """The environment and its parameters."""
    try:
        import gymnax
    except ImportError as error:
        raise ConfigError(f"{name}: needs gymnax: pip install .[gymnax] ({error})") from error
    try:
        made: tuple[Any, Any] = gymnax.make(name)
    except ValueError as error:
        raise ConfigError(f"{name}: gymnax has no such environment ({error})") from error
    return made


def _spec(
    name: str,
    env: Any,
    params: Any,
    obs_ranges: tuple[tuple[float, ...], tuple[float, ...]] | None,
    reward_range: tuple[float, float],
) -> EnvSpec:
    """What a policy must know of the family."""
    actions, space = env.action_space(params), env.observation_space(params)
    require(hasattr(actions, "n"), f"{name}: actions are {actions}; must be discrete")
    horizon = int(getattr(params, _TIME_LIMIT))
    if hasattr(space, "n"):
        return EnvSpec(int(actions.n), Discrete((int(space.n),)), horizon, reward_range)
    require(hasattr(space, "low"), f"{name}: observations are {space}; must be numbers")
    low, high = (np.broadcast_to(x, space.shape).ravel() for x in (space.low, space.high))
    low, high = np.where(low < -_UNBOUNDED, -1.0, low), np.where(high > _UNBOUNDED, 1.0, high)
    box = Box(*obs_ranges) if obs_ranges else Box(tuple(low.tolist()), tuple(high.tolist()))
    sizes = len(low), *map(len, box)
    require(len(set(sizes)) == 1, f"{name}: obs_ranges: {sizes[1:]} bounds; must be {sizes[0]}")
    return EnvSpec(int(actions.n), box, horizon, reward_range)


def _try(name: str, family: GymnaxFamily) -> None:
    """Traces a reset and a step, without running them."""

    def play(index: jax.Array) -> Any:
        task = family.task(index)
        key = jax.random.key(0, impl="threefry2x32")
        env_state, _ = family.reset(key, task)
        return family.step(key, env_state, jnp.zeros((), jnp.int32), task)

    try:
        jax.eval_shape(play, jax.ShapeDtypeStruct((), jnp.int32))
    except Exception as error:  # Each environment fails in its own way.
        named = ", ".join(parameter for parameter, *_ in family.ranges) or "nothing"
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{name}: cannot be traced with {named} as the task: {reason}") from error
