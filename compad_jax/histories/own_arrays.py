"""Arrays that others have made, brought into the shapes and types of a store."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from compad_jax.config.checks import ConfigError, require
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.types import History, Transition


def stack(histories: Sequence[Sequence[History]], spec: EnvSpec) -> History:
    """Histories [T, ...] of any lengths, of R learners for each task, as arrays [G, R, T].

    Raises:
        ConfigError: the tasks have not equally many, some have other arrays than others, or the
            arrays of one are not equally long.
    """
    counts = {len(task) for task in histories}
    is_even = len(counts) == 1 and 0 not in counts
    require(is_even, f"histories of a task are {sorted(counts)}; must be equally many of each")
    flat = [as_arrays(history) for task in histories for history in task]
    shape = (len(histories), counts.pop())
    for number, history in enumerate(flat):
        _require_equally_long(history, number // shape[1], number % shape[1])
    kinds = {tuple(sorted(optional_names(history))) for history in flat}
    require(len(kinds) == 1, f"optional arrays: {kinds}; must be the same of all histories")
    lengths: Any = np.array([len(x.transition.action) for x in flat], np.int32)
    padded = [pad(history, lengths.max(), spec, axis=0) for history in flat]
    whole: History = jax.tree.map(lambda *x: np.stack(x).reshape(*shape, *x[0].shape), *padded)
    same = (lengths == lengths.max()).all()
    return whole._replace(length=None if same else lengths.reshape(shape))


def _require_equally_long(history: History, task: int, stream: int) -> None:
    steps = {name: len(x) if x.ndim else 0 for name, x in history.arrays.items()}
    allowed = max(1, steps["action"])
    for name, found in steps.items():
        where = f"{name}: task {task}, stream {stream}"
        require(found == allowed, f"{where}: has {found} steps; must be {allowed}, as of action")


def pad(history: History, num_steps: int, spec: EnvSpec, axis: int) -> History:
    """Adds steps that mean nothing at the end of an axis; a uniform policy has them no targets."""

    def lengthen(x: Any, value: float = 0) -> Any:
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, max(0, int(num_steps) - x.shape[axis]))
        return np.pad(x, widths, constant_values=value)

    uniform = -np.log(spec.num_actions)
    log_probs = jax.tree.map(lambda x: lengthen(x, uniform), history.log_probs)
    transition, target = jax.tree.map(lengthen, (history.transition, history.target))
    return History(transition, log_probs, target, history.length)


def as_arrays(history: History) -> History:
    """The same as NumPy arrays; observations that are single numbers get an axis of coordinates."""
    history = jax.tree.map(np.asarray, history, is_leaf=lambda x: isinstance(x, list))
    steps, ndim = history.transition, history.transition.action.ndim
    both = (x[..., None] if x.ndim == ndim else x for x in (steps.obs, steps.next_obs))
    obs, next_obs = (x.reshape(*x.shape[:ndim], math.prod(x.shape[ndim:])) for x in both)
    return history._replace(transition=steps._replace(obs=obs, next_obs=next_obs))


def typed(history: History, spec: EnvSpec, task: int) -> History:
    """Arrays in the types of a store; a ConfigError where numbers must be whole and are not."""

    def whole(name: str, x: Any) -> Any:
        if x.dtype.kind != "f":
            return x
        wrong = np.argwhere(x != np.round(x))
        if len(wrong):
            _, stream, step, *_ = wrong[0]
            where = f"{name}: task {task}, stream {stream}, step {step}"
            raise ConfigError(f"{where}: is {x[tuple(wrong[0])]}; must be a whole number")
        return x.astype(np.int32)

    steps, is_discrete = history.transition, isinstance(spec.obs_space, Discrete)
    with np.errstate(over="ignore"):  # What is too large is found as infinite.
        obs, next_obs = (
            whole(name, x) if is_discrete else x.astype(np.float32)
            for name, x in (("obs", steps.obs), ("next_obs", steps.next_obs))
        )
        done: Any = steps.done
        if done.dtype.kind in "iuf" and np.isin(done, (0, 1)).all():
            done = done.astype(bool)
        reward, log_probs = steps.reward.astype(np.float32), history.log_probs
    action, target = whole("action", steps.action), history.target
    return History(
        Transition(obs, action, reward, next_obs, done),
        None if log_probs is None else log_probs.astype(np.float16),
        None if target is None else whole("target", target),
        history.length,
    )


def types_of_task(spec: EnvSpec, shape: tuple[int, int, int], names: set[str]) -> History:
    """Shapes and types [R, T, ...] of one task, as `typed` makes them."""

    def array(dtype: Any, *last: int) -> Any:
        return jax.ShapeDtypeStruct((*shape[1:], *last), dtype)

    obs = array(spec.obs_dtype, spec.obs_size)
    action, reward, done = (array(dtype) for dtype in (np.int32, np.float32, np.bool_))
    optional: dict[str, Any] = {
        "log_probs": array(np.float16, spec.num_actions),
        "target": action,
        "length": jax.ShapeDtypeStruct(shape[1:2], np.int32),
    }
    optional = {name: x for name, x in optional.items() if name in names}
    return History(Transition(obs, action, reward, obs, done), **optional)


def optional_names(history: History) -> set[str]:
    """The optional arrays that a history has."""
    return set(history.arrays) - set(Transition._fields)
