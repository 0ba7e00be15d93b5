"""Files of learning histories as other programs write them: HDF5 with a group a task, and npz.

Sources: the collectors of public implementations of algorithm distillation, which keep what
Stable-Baselines3 shows (`states`, `actions`, `rewards`, `next_states`, sometimes `dones`; time is
the first axis, streams the second); Nikulin et al. (2024), XLand-100B (`states`, `actions`,
`rewards` in float16, `dones`, `expert_actions`; streams are the first axis; no next states).
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from compad_jax.config.checks import ConfigError, one_line, require
from compad_jax.envs.protocol import EnvSpec
from compad_jax.histories.own_arrays import as_arrays, pad
from compad_jax.types import History, Transition

Group = Mapping[str, Any]  # The arrays of one task by the names of the file.

# What an array may be called; where several are there, an episode ends when any says so.
_NAMES = {
    "obs": ("states", "observations", "obs"),
    "action": ("actions", "action"),
    "reward": ("rewards", "reward"),
    "next_obs": ("next_states", "next_observations", "next_obs"),
    "done": ("dones", "done", "terminated", "truncated", "terminals", "timeouts"),
    "log_probs": ("log_probs",),
    "target": ("expert_actions", "target"),
    "length": ("lengths", "length"),
}
_NEEDED = ("obs", "action", "reward")


@contextlib.contextmanager
def open_groups(path: str) -> Iterator[dict[str, Group]]:
    """Opens a file.

    Args:
        path: an HDF5 file with a group a task; or an npz file, whose names begin with that of
            the group (`0/states`), or whose arrays have the tasks as their first axis.

    Yields:
        The groups, whose arrays are read when they are asked for, by their numbers in order.

    Raises:
        ConfigError: it is not there, or no such file.
        OSError: it must not be read.
    """
    require(os.path.isfile(path), f"{path}: no such file")
    with open(path, "rb") as file:
        is_npz = file.read(2) == b"PK"
    with _open_npz(path) if is_npz else _open_hdf5(path) as groups:
        require(bool(groups), f"{path}: has no group with arrays such as states and actions")
        wrong = [name for name in groups if not re.fullmatch(r"\d+", name)]
        require(not wrong, f"{path}: group {wrong[:1]}: must be named by the number of its task")
        for name, group in groups.items():
            missing = [_NAMES[x][0] for x in _NEEDED if not _named(group, x)]
            require(not missing, f"{path}, group {name}: lacks {', '.join(missing)}")
        kinds = {tuple(x for x in _NAMES if has(group, x)) for group in groups.values()}
        require(len(kinds) == 1, f"{path}: some groups have arrays that others lack; must have all")
        yield {name: groups[name] for name in sorted(groups, key=int)}


@contextlib.contextmanager
def _open_hdf5(path: str) -> Iterator[dict[str, Group]]:
    try:
        import h5py
    except ImportError as error:
        raise ConfigError(f"{path}: needs h5py: pip install h5py, or .[hdf5]") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ConfigError(f"{path}: is neither HDF5 nor npz ({one_line(error)})") from error
    with file:
        yield {name: group for name, group in file.items() if isinstance(group, h5py.Group)}


@contextlib.contextmanager
def _open_npz(path: str) -> Iterator[dict[str, Group]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # A damaged archive raises of many kinds.
        raise ConfigError(f"{path}: is no npz file of arrays ({one_line(error)})") from error
    groups: dict[str, Any] = {}
    for name, array in arrays.items():
        group, _, last = name.rpartition("/")
        by_group: Any = {group: array} if group else dict(enumerate(array if array.ndim else ()))
        for key, of_task in by_group.items():
            groups.setdefault(str(key), {})[last] = of_task
    yield groups


def has(group: Group, name: str) -> bool:
    """Whether a group has an array, by its name in a `Transition` or `History`."""
    return bool(_named(group, name))


def shape_of(name: str, group: Group, time_axis: int) -> tuple[int, int]:
    """Numbers of streams and steps, R and T, of the group of a name.

    Raises:
        ConfigError: its arrays have not equally many.
    """
    known = [x for own, names in _NAMES.items() if own != "length" for x in names if x in group]
    shapes = {x: group[x].shape for x in known}
    for array, shape in shapes.items():
        text = f"group {name}: {array} has shape {shape}; must have axes of streams and of steps"
        require(len(shape) >= 2, text)
    first, expected = next(iter(shapes.items()))
    for axis, word in ((time_axis, "steps"), (1 - time_axis, "streams")):
        for array, shape in shapes.items():
            require(
                shape[axis] == expected[axis],
                f"group {name}: {array} has {shape[axis]} {word}, {first} {expected[axis]}; "
                "must be equally many",
            )
    return expected[1 - time_axis], expected[time_axis]


def find_time_axis(group: Group) -> int:
    """Which of the first two axes is time: that along which a next state is the state after it.

    Without next states it is the second, as in XLand-100B.
    """
    if not has(group, "next_obs"):
        return 1
    obs, next_obs = (np.asarray(_named(group, name)[0]) for name in ("obs", "next_obs"))

    if obs.shape != next_obs.shape or obs.ndim < 2:  # `shape_of` tells it.
        return 0

    def share(axis: int) -> float:
        now, after = np.swapaxes(next_obs, 0, axis)[:-1], np.swapaxes(obs, 0, axis)[1:]
        return float((now == after).mean()) if now.size else -1.0

    return int(share(1) > share(0))


def read_history(
    group: Group, spec: EnvSpec, num_steps: int, names: set[str], time_axis: int
) -> History:
    """The histories of one task, [1, R, T], with those optional arrays that are named.

    Shorter ones are padded to T steps. Where the file has no next states, a next state is the state
    after it or, at the end of an episode, the state before; where it has no dones, an episode
    ends at the horizon or where a next state is not the state after it.
    """

    def read(name: str) -> Any:
        """An array [R, T', ...]."""
        arrays = [np.asarray(x) for x in _named(group, name)]
        x = np.any(arrays, axis=0) if name == "done" and len(arrays) > 1 else arrays[0]
        return x if name == "length" else np.swapaxes(x, 0, 1 - time_axis)

    obs, action, reward = (read(name) for name in _NEEDED)
    next_obs: Any = read("next_obs") if has(group, "next_obs") else None
    length: Any = read("length") if has(group, "length") else np.full(len(action), action.shape[1])
    done: Any
    done = read("done") if has(group, "done") else _ends(obs, next_obs, length, spec.horizon)
    if next_obs is None:
        last = done.astype(bool).reshape(*done.shape, *[1] * (obs.ndim - 2))
        after = np.concatenate([obs[:, 1:], obs[:, -1:]], axis=1)
        next_obs = np.where(last, obs, after)
    optional = {name: read(name) for name in ("log_probs", "target") if name in names}
    length = length if "length" in names else None
    history = History(Transition(obs, action, reward, next_obs, done), **optional, length=length)
    history = pad(as_arrays(history), num_steps, spec, axis=1)
    one_task: History = jax.tree.map(lambda x: x[None], history)
    return one_task


def _ends(
    obs: np.ndarray, next_obs: np.ndarray | None, length: np.ndarray, horizon: int
) -> np.ndarray:
    """Where episodes end [R, T], by the horizon and by next states that are not the next ones.

    Behind the last real step of a history, of which there are `length` [R], stands no next one.
    """
    done: Any = np.zeros(obs.shape[:2], bool)
    if next_obs is not None:
        breaks = (next_obs[:, :-1] != obs[:, 1:]).reshape(len(obs), len(obs[0]) - 1, -1)
        done[:, :-1] = breaks.any(-1) & (np.arange(1, obs.shape[1]) < length[:, None])
    time = np.zeros(len(done), int)
    for step in range(done.shape[1]):
        time += 1
        done[:, step] |= time == horizon
        time[done[:, step]] = 0
    return done


def _named(group: Group, name: str) -> list[Any]:
    """The arrays of a group that an own name stands for."""
    return [group[x] for x in _NAMES[name] if x in group]
