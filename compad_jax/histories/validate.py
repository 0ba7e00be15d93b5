"""Histories that no environment could have made are found before anything is learned."""

from collections.abc import Iterator

import numpy as np

from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.types import History, Transition

_TOLERANCE = 0.02  # Of a sum of probabilities whose logarithms are stored in float16.
_Found = tuple[tuple[int, int], str] | None  # Stream and step, and what is wrong there.
_KINDS = {"iu": "integers", "f": "real numbers", "b": "truth values"}


def find_mistake(
    history: History, spec: EnvSpec, shape: tuple[int, int, int], first_task: int = 0
) -> str | None:
    """Looks for anything that cannot be in histories of an environment.

    Args:
        history: NumPy arrays.
        spec: of the environment.
        shape: G, R and T that it should have.
        first_task: number of the first of these tasks, for the message.

    Returns:
        One line that names the array, the place and what is allowed; None: all is well.
    """
    obs_kind = "iu" if isinstance(spec.obs_space, Discrete) else "f"
    kinds = {"obs": obs_kind, "next_obs": obs_kind, "reward": "f", "log_probs": "f", "done": "b"}
    last = {"obs": (spec.obs_size,), "next_obs": (spec.obs_size,), "log_probs": (spec.num_actions,)}
    for name, x in history.arrays.items():
        expected = shape[:2] if name == "length" else (*shape, *last.get(name, ()))
        if x.shape != expected:
            axes = "tasks, streams, steps" + (", entries" if name in last else "")
            return f"{name}: has shape {x.shape}; must be {expected} ({axes})"
        kind = kinds.get(name, "iu")
        if x.dtype.kind not in kind:
            return f"{name}: has type {x.dtype}; must be {_KINDS[kind]}"
        # A task at a time: what is computed on the way stays small.
        for task in range(len(x)):
            found = _mistake_in(name, x[task], spec, shape[2])
            if found:
                return _located(name, first_task + task, found)
    for task in range(shape[0]):
        length = np.full(shape[1], shape[2])
        if history.length is not None:
            length = np.asarray(history.length[task])
        for name, found in _contradictions(history.transition, task, length, spec.horizon):
            if found:
                return _located(name, first_task + task, found)
    return None


def _located(name: str, task: int, found: tuple[tuple[int, int], str]) -> str:
    (stream, step), text = found
    return f"{name}: task {task}, stream {stream}, step {step}: {text}"


def _contradictions(
    transition: Transition, task: int, length: np.ndarray, horizon: int
) -> Iterator[tuple[str, _Found]]:
    """What does not fit together in one task's arrays [R, T, ...], by the array to look at.

    What follows on the end of a history, by its length, int [R], is not looked at.
    """
    arrays = (transition.obs, transition.next_obs, transition.done)
    obs, next_obs, done = (np.asarray(x[task]) for x in arrays)
    real = np.arange(done.shape[1]) < length[:, None]
    breaks = (next_obs[:, :-1] != obs[:, 1:]).any(-1) & ~done[:, :-1] & real[:, 1:]
    yield "next_obs", _first(breaks, next_obs, "is", "the next step's obs, unless done")
    time = np.arange(done.shape[1])
    last_end = np.maximum.accumulate(np.where(done, time, -1), axis=1)
    first = np.full((len(done), 1), -1)
    steps = time - np.concatenate([first, last_end[:, :-1]], axis=1)  # Of the episode, so far.
    verb, allowed = "steps without an end of the episode are", f"at most the horizon, {horizon}"
    yield "done", _first((steps > horizon) & real, steps, verb, allowed)


def _mistake_in(name: str, x: np.ndarray, spec: EnvSpec, num_steps: int) -> _Found:
    """The first mistake in one task's array [R, T, ...]: its stream and step, and what it is."""
    if name == "length":
        wrong = (x < 1) | (x > num_steps)
        return _first(wrong[:, None], x[:, None], "is", f"in [1, {num_steps}]")
    if name == "log_probs":
        total = np.exp(x.astype(np.float32)).sum(-1)
        return _first(~(np.abs(total - 1) <= _TOLERANCE), total, "probabilities sum to", "1")
    if name in ("action", "target"):
        return _outside(x[..., None], (spec.num_actions,))
    if name in ("obs", "next_obs") and isinstance(spec.obs_space, Discrete):
        return _outside(x, spec.obs_space.sizes)
    if x.dtype.kind == "f":
        # Not larger than float32 either, which they are computed in.
        finite = (np.abs(x) <= np.finfo(np.float32).max).reshape(*x.shape[:2], -1).all(-1)
        return _first(~finite, x, "is", "finite, in float32")
    return None


def _outside(x: np.ndarray, sizes: tuple[int, ...]) -> _Found:
    """Integers [R, T, O] that are not in [0, size) of their coordinate."""
    for coordinate, size in enumerate(sizes):
        values = x[..., coordinate]
        # Minimum and maximum first: mostly all is well, and they make no array.
        if values.min() < 0 or values.max() >= size:
            return _first((values < 0) | (values >= size), values, "is", f"in [0, {size})")
    return None


def _first(wrong: np.ndarray, x: np.ndarray, verb: str, allowed: str) -> _Found:
    if not wrong.any():
        return None
    stream, step = (int(i) for i in np.argwhere(wrong)[0])
    return (stream, step), f"{verb} {x[stream, step]}; must be {allowed}"
