"""Histories as they lie on the devices, a row each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from compad_jax.backend import sharding
from compad_jax.backend.process import quick_compile_options
from compad_jax.config import Config
from compad_jax.envs.protocol import EnvSpec
from compad_jax.types import History, Transition

_EQUAL = 1e-3  # Share by which stored log-probabilities of equally likely actions may differ.


class Dataset(NamedTuple):
    """Histories; a row is one history of one task. The devices share the rows."""

    transition: Transition  # [rows, T]
    target: jax.Array  # int [rows, T], actions to be imitated.
    is_target: jax.Array  # bool [rows, T], see `is_informative`.
    floor: jax.Array  # float [rows, T], lowest expected loss in nats; NaN: not known.
    task: jax.Array  # int [rows], index of the task.
    num_rows: jax.Array  # int [], histories; rows beyond them only fill the devices.


def is_informative(log_probs: jax.Array) -> jax.Array:
    """Whether a source preferred any action: where none, there is nothing to imitate.

    Only exact uniformity counts, up to a rounding to float16: a source that is nearly uniform
    explores, and a student must learn to explore.

    Args:
        log_probs: of its policy, float [..., A]; -inf is allowed.

    Returns:
        bool [...].
    """
    log_probs = log_probs.astype(jnp.float32)
    highest = log_probs.max(-1)
    return highest - log_probs.min(-1) > _EQUAL * jnp.abs(highest)


def make_datasets(
    history: History,
    parts: Mapping[str, np.ndarray],
    floor_fn: Callable[[jax.Array], jax.Array],
    mesh: Mesh | None = None,
    tasks_read: np.ndarray | None = None,
) -> dict[str, Dataset]:
    """Puts the histories of some tasks on the devices, part by part.

    Args:
        history: [G, R, T], or of `tasks_read` alone.
        parts: which of the G tasks are in each part, int [.]; nothing of other tasks reaches
            a device.
        floor_fn: lowest expected loss of each action, float [...], by the source's
            log-probabilities [..., A].
        mesh: the devices that share the rows; None: the first holds all.
        tasks_read: the tasks that `history` has, ascending; None: all. It needs those that
            `tasks_of_process` names.

    Returns:
        The histories of the tasks of each part, a row each; shapes, types and shardings are
        those of `dataset_shapes`. Without log-probabilities every action is a target and no
        floor is known.
    """
    describe = jax.jit(
        lambda log_probs: (is_informative(log_probs), floor_fn(log_probs)),
        compiler_options=quick_compile_options(),
    )

    def place(tasks: np.ndarray) -> Dataset:
        num_streams = history.transition.action.shape[1]
        num_rows = len(tasks) * num_streams
        task, stream = _rows(tasks, num_streams, mesh)
        where = task if tasks_read is None else np.searchsorted(tasks_read, task)
        rows = jax.tree.map(lambda x: _Rows(x, where, stream), history), task.astype(np.int32)
        (transition, log_probs, target), task = _put(rows, mesh)
        if log_probs is not None:
            is_target, floor = describe(log_probs)
        else:
            shape = transition.action.shape
            known = np.broadcast_to(True, shape), np.broadcast_to(np.float32(np.nan), shape)
            is_target, floor = _put(known, mesh)
        count: Any = np.int32(num_rows)
        count = sharding.place(count, sharding.replicated(mesh)) if mesh else jnp.asarray(count)
        target = transition.action if target is None else target
        return Dataset(transition, target, is_target, floor, task, count)

    return {name: place(tasks) for name, tasks in parts.items()}


def dataset_shapes(
    config: Config, spec: EnvSpec, num_tasks: int, mesh: Mesh | None = None
) -> Dataset:
    """What `make_datasets` will return for a part of so many tasks: all but the values."""
    rows = _fill(num_tasks * config.source.num_streams, mesh)
    steps = (rows, config.source.num_steps)

    def array(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=_placement(mesh))

    obs = array(spec.obs_dtype, *steps, spec.obs_size)
    action, reward, flag = (array(dtype, *steps) for dtype in (jnp.int32, jnp.float32, jnp.bool_))
    whole = mesh and sharding.replicated(mesh)
    count: Any = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
    transition = Transition(obs, action, reward, obs, flag)
    return Dataset(transition, action, flag, reward, array(jnp.int32, rows), count)


def tasks_of_process(parts: Mapping[str, np.ndarray], num_streams: int, mesh: Mesh) -> np.ndarray:
    """The tasks of which the devices of this process hold rows, int [N], ascending."""
    own = [np.array([], int)]
    for tasks in parts.values():
        task, _ = _rows(tasks, num_streams, mesh)
        shares = sharding.split_batch(mesh).addressable_devices_indices_map(task.shape)
        own += [task[where] for where in shares.values()]
    return np.unique(np.concatenate(own))


def _rows(tasks: np.ndarray, num_streams: int, mesh: Mesh | None) -> tuple[np.ndarray, np.ndarray]:
    """Task and stream of each row of a part, int [rows]; the last row fills the devices."""
    num_rows = len(tasks) * num_streams
    filled = np.minimum(np.arange(_fill(num_rows, mesh)), num_rows - 1)
    return tasks[filled // num_streams], filled % num_streams


class _Rows:
    """Rows of an array of histories [G, R, ...], gathered when a device asks for its own."""

    def __init__(self, array: np.ndarray, task: np.ndarray, stream: np.ndarray) -> None:
        """Where in the array the rows are: int [rows]."""
        self._array, self._task, self._stream = array, task, stream
        self.shape = (len(task), *array.shape[2:])

    def __getitem__(self, part: Any) -> np.ndarray:
        rows = part[0]
        return _typed(self._array[self._task[rows], self._stream[rows]])


def _put(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays or `_Rows` on the devices."""
    if mesh:
        return sharding.place(tree, sharding.split_batch(mesh))
    return jax.device_put(jax.tree.map(lambda x: x[:,] if isinstance(x, _Rows) else x, tree))


def _placement(mesh: Mesh | None) -> jax.sharding.NamedSharding | None:
    return None if mesh is None else sharding.split_batch(mesh)


def _fill(num_rows: int, mesh: Mesh | None) -> int:
    """The next number of rows that the devices share evenly."""
    size = mesh.size if mesh else 1
    return -(-num_rows // size) * size


def _typed(x: np.ndarray) -> np.ndarray:
    """Integers as int32 and real numbers as float32, however small a store keeps them."""
    kinds = {"i": np.int32, "u": np.int32, "f": np.float32}
    return x.astype(kinds.get(x.dtype.kind, x.dtype))
