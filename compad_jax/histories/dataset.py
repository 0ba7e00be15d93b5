"""Histories as they lie on the devices, a row each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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
    length: jax.Array | None = None  # int [rows], steps of each history; None: all T.


def is_informative(log_probs: jax.Array) -> jax.Array:
    """Whether a source preferred any action, bool [...]: where none, there is nothing to imitate.

    Only exact uniformity counts, up to a rounding to float16: a source that is nearly uniform
    explores, and a student must learn to explore. `log_probs` are float [..., A]; -inf is allowed.
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
    describe = _describer(floor_fn)

    def place(tasks: np.ndarray) -> Dataset:
        num_streams = history.transition.action.shape[1]
        num_rows = len(tasks) * num_streams
        task, stream = _rows(tasks, num_streams, mesh)
        where = task if tasks_read is None else np.searchsorted(tasks_read, task)
        rows = jax.tree.map(lambda x: _Rows(x, where, stream), history), task.astype(np.int32)
        placed, task = _put(rows, mesh)
        count: Any = np.int32(num_rows)
        count = sharding.place(count, sharding.replicated(mesh)) if mesh else jnp.asarray(count)
        return Dataset(*describe(placed), task, count, placed.length)

    return {name: place(tasks) for name, tasks in parts.items()}


def make_place_windows(
    floor_fn: Callable[[jax.Array], jax.Array], mesh: Mesh
) -> Callable[[History, np.ndarray, int], Dataset]:
    """Builds the function that puts the histories of the windows of some steps on the devices.

    Returns:
        Function (history [steps, own windows, T], their tasks, rows of the whole dataset) ->
        dataset with leading axes [steps, B]: a row a window, shared out by the devices. A process
        gives its own windows.
    """
    describe, split = _describer(floor_fn), NamedSharding(mesh, PartitionSpec(None, "data"))

    def place(history: History, task: np.ndarray, num_rows: int) -> Dataset:
        typed = jax.tree.map(_typed, (history, task))
        placed, tasks = jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(split, x), typed
        )
        count = np.full(len(task), num_rows, np.int32)
        counts = sharding.place(count, sharding.replicated(mesh))
        return Dataset(*describe(placed), tasks, counts, placed.length)

    return place


def _describer(
    floor_fn: Callable[[jax.Array], jax.Array],
) -> Callable[[History], tuple[Transition, jax.Array, jax.Array, jax.Array]]:
    """Builds the function from histories on devices to the first fields of their `Dataset`."""
    describe = jax.jit(
        lambda log_probs: (is_informative(log_probs), floor_fn(log_probs)),
        compiler_options=quick_compile_options(),
    )

    def fields(history: History) -> tuple[Transition, jax.Array, jax.Array, jax.Array]:
        transition, log_probs, target, _ = history
        action = transition.action
        if log_probs is not None:
            known = describe(log_probs)
        else:
            constants = np.bool_(True), np.float32(np.nan)
            everywhere = tuple(np.broadcast_to(x, action.shape) for x in constants)
            known = sharding.place(everywhere, action.sharding)
        return transition, action if target is None else target, *known

    return fields


def dataset_shapes(
    config: Config,
    spec: EnvSpec,
    num_tasks: int,
    mesh: Mesh | None = None,
    *,
    has_lengths: bool = False,
) -> Dataset:
    """What a training step takes, all but the values: shapes, types and shardings.

    It is that of `make_datasets` for so many training tasks; with `data.streamed`, that of the
    function of `make_place_windows`. Without a mesh it lies on the first device.
    """
    if config.data.streamed:
        assert mesh is not None
        rows: tuple[int, ...] = (config.train.log_every, config.train.train_batch_size)
        where: Any = NamedSharding(mesh, PartitionSpec(None, "data"))
    else:
        rows = (_fill(num_tasks * config.source.num_streams, mesh),)
        where = mesh and sharding.split_batch(mesh)
    steps = (*rows, config.source.num_steps)

    def array(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=where)

    obs = array(spec.obs_dtype, *steps, spec.obs_size)
    action, reward, flag = (array(dtype, *steps) for dtype in (jnp.int32, jnp.float32, jnp.bool_))
    whole = mesh and sharding.replicated(mesh)
    count: Any = jax.ShapeDtypeStruct(rows[:-1], jnp.int32, sharding=whole)
    transition, task = Transition(obs, action, reward, obs, flag), array(jnp.int32, *rows)
    length = task if has_lengths else None
    return Dataset(transition, action, flag, reward, task, count, length)


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


def _fill(num_rows: int, mesh: Mesh | None) -> int:
    """The next number of rows that the devices share evenly."""
    size = mesh.size if mesh else 1
    return -(-num_rows // size) * size


def _typed(x: np.ndarray) -> np.ndarray:
    """Integers as int32 and real numbers as float32, however small a store keeps them."""
    kinds = {"i": np.int32, "u": np.int32, "f": np.float32}
    return x.astype(kinds.get(x.dtype.kind, x.dtype))
