"""Writes a store, whole or not at all; several processes write one together, each its tasks."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from compad_jax.backend import files, processes
from compad_jax.backend.ownership import owned
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.histories.store import Origin, to_arrays, write_manifest
from compad_jax.histories.store_arrays import (
    Layout,
    checksums,
    compact,
    create_array,
    write_tasks,
)
from compad_jax.types import History


def share_of_tasks(num_tasks: int) -> np.ndarray:
    """The tasks that this process collects, int [.]: consecutive, and about as many as others."""
    return np.array_split(np.arange(num_tasks), processes.count())[processes.index()]


@contextlib.contextmanager
def only_one_program(directory: str) -> Iterator[bool]:
    """Holds back other programs that would make a store; tells whether one is there already.

    Process 0 has the lock, and what it sees counts for all.
    """
    if processes.exchange("whether there is a store", os.path.exists(directory))[0]:
        yield True
        return
    with making(directory) if processes.is_primary() else contextlib.nullcontext():
        # Another program may have made it meanwhile.
        yield processes.exchange("whether there is a store now", os.path.exists(directory))[0]
        processes.barrier("the store is made")


@contextlib.contextmanager
def making(directory: str) -> Iterator[None]:
    """Holds back other processes that would make the same store, until this one has.

    What a process that was killed has left of this store is removed, and nothing else.
    """
    directory = directory.rstrip(os.sep)
    parent = os.path.dirname(directory) or os.curdir
    os.makedirs(parent, exist_ok=True)
    with owned(f"{directory}.lock", directory, wait=True):
        for name in os.listdir(parent):
            if files.is_temporary_of(os.path.basename(directory), name):
                shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
        yield


def make_layouts(one_task: History, num_tasks: int, spec: EnvSpec) -> dict[str, Layout]:
    """Layouts of the arrays of a store, by name; integers as small as the environment allows.

    `one_task` has arrays [R, T, ...], or their shapes and types.
    """
    sizes = spec.obs_space.sizes if isinstance(spec.obs_space, Discrete) else (1,)
    bounds = {"action": spec.num_actions, "target": spec.num_actions}
    bounds |= dict.fromkeys(("obs", "next_obs"), max(sizes))

    def layout(name: str, array: Any) -> Layout:
        is_small = name in bounds and np.issubdtype(array.dtype, np.integer)
        dtype = np.min_scalar_type(-bounds[name]) if is_small else array.dtype
        return Layout([num_tasks, *array.shape], str(dtype))

    return {name: layout(name, x) for name, x in one_task.arrays.items()}


def write_store(directory: str, history: History, origin: Origin) -> None:
    """Writes histories that are in memory, NumPy arrays [G, R, T], to a new directory.

    It must be owned, see `making`.

    Raises:
        OSError: it cannot be written; nothing is left then.
    """
    arrays = {name: compact(array) for name, array in to_arrays(history).items()}
    layouts = {name: Layout(list(x.shape), str(x.dtype)) for name, x in arrays.items()}
    write_parts(directory, [history], layouts, 0, origin)


def write_parts(
    directory: str,
    parts: Iterable[History],
    layouts: Mapping[str, Layout],
    first: int,
    origin: Origin,
) -> None:
    """Writes histories part by part, under a temporary name, which process 0 renames.

    The store is the same, bit for bit, as if one process had written it: tasks are files of
    their own.

    Args:
        directory: must not exist.
        parts: those of this process, NumPy arrays [N, R, T]: consecutive tasks.
        layouts: of the whole arrays, by name.
        first: the first task of this process.
        origin: what made them.

    Raises:
        OSError: it cannot be written; nothing is left then.
    """
    temporary = processes.exchange("where the store is made", files.temporary_name(directory))[0]
    try:
        with processes.primary_first("the arrays of the store"):
            processes.require_shared(temporary)
            if processes.is_primary():
                _create(temporary, layouts)
        digests = _write_all(temporary, parts, layouts, first)
        files.write_json(_digest_file(temporary, processes.index()), digests)
        processes.barrier("the shares of the store")
        if processes.is_primary():
            _publish(temporary, directory, layouts, origin)
    except BaseException:
        if processes.is_primary():
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _create(temporary: str, layouts: Mapping[str, Layout]) -> None:
    """Makes the folder, and the arrays without their values."""
    os.makedirs(temporary)
    for name, layout in layouts.items():
        create_array(os.path.join(temporary, name), layout)


def _write_all(
    temporary: str, parts: Iterable[History], layouts: Mapping[str, Layout], first: int
) -> dict[str, list[str]]:
    """Writes the tasks of this process; returns their checksums, by array."""
    digests: dict[str, list[str]] = {name: [] for name in layouts}
    for part in parts:
        for name, array in to_arrays(part).items():
            values = array.astype(layouts[name].dtype)
            write_tasks(os.path.join(temporary, name), values, first)
            digests[name] += checksums(values)
        first += len(part.transition.action)
    return digests


def _publish(temporary: str, directory: str, layouts: Mapping[str, Layout], origin: Origin) -> None:
    """Adds the manifest, with the checksums of all processes, and gives the folder its name."""
    parts = [_take(_digest_file(temporary, i)) for i in range(processes.count())]
    entries = {
        name: layout._asdict() | {"sha256": [x for part in parts for x in part[name]]}
        for name, layout in layouts.items()
    }
    write_manifest(temporary, entries, origin)
    os.replace(temporary, directory)


def _digest_file(temporary: str, index: int) -> str:
    return os.path.join(temporary, f"sha256-{index}.json")


def _take(path: str) -> dict[str, list[str]]:
    """Reads a file that is then needed no more."""
    digests: dict[str, list[str]] = files.read_json(path, "start again")
    os.remove(path)
    return digests
