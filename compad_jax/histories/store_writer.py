"""Writes a store, whole or not at all; several processes write one together, each its tasks."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from compad_jax.backend import files, processes
from compad_jax.backend.ownership import owned
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.histories.store import RECORDS, to_arrays
from compad_jax.histories.store_manifest import Origin, write_manifest
from compad_jax.histories.store_records import (
    ArrayLayout,
    RecordLayout,
    checksums,
    create_records,
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


def make_layout(one_task: History, num_tasks: int, spec: EnvSpec) -> RecordLayout:
    """Layout of the records of a store; integers as small as the environment allows.

    `one_task` has arrays [R, T, ...], or their shapes and types.
    """
    sizes = spec.obs_space.sizes if isinstance(spec.obs_space, Discrete) else (1,)
    bounds = {"action": spec.num_actions, "target": spec.num_actions}
    bounds |= dict.fromkeys(("obs", "next_obs"), max(sizes))

    def layout(name: str, array: Any) -> ArrayLayout:
        is_small = name in bounds and np.issubdtype(array.dtype, np.integer)
        dtype = np.min_scalar_type(-bounds[name]) if is_small else array.dtype
        return ArrayLayout([num_tasks, *array.shape], str(dtype))

    return RecordLayout({name: layout(name, x) for name, x in one_task.arrays.items()})


def write_store(directory: str, history: History, origin: Origin) -> None:
    """Writes histories that are in memory, NumPy arrays [G, R, T], to a new directory.

    It must be owned, see `making`.

    Raises:
        OSError: it cannot be written; nothing is left then.
    """
    arrays = to_arrays(history).items()
    layout = {name: ArrayLayout(list(x.shape), str(compact_dtype(x))) for name, x in arrays}
    write_parts(directory, [history], RecordLayout(layout), 0, origin)


def compact_dtype(array: np.ndarray) -> np.dtype:
    """Of integers the smallest signed type that holds them; of all else its own."""
    if array.dtype.kind != "i":
        return array.dtype
    return np.min_scalar_type(min(int(array.min()), -int(array.max()) - 1))


def write_parts(
    directory: str,
    parts: Iterable[History],
    layout: RecordLayout,
    first: int,
    origin: Origin,
) -> None:
    """Writes histories part by part, under a temporary name, which process 0 renames.

    The store is the same, bit for bit, as if one process had written it: tasks are files of
    their own.

    Args:
        directory: must not exist.
        parts: those of this process, NumPy arrays [N, R, T]: consecutive tasks.
        layout: of the records of all tasks.
        first: the first task of this process.
        origin: what made them.

    Raises:
        OSError: it cannot be written; nothing is left then.
    """
    temporary = processes.exchange("where the store is made", files.temporary_name(directory))[0]
    records = os.path.join(temporary, RECORDS)
    try:
        with processes.primary_first("the records of the store"):
            processes.require_shared(temporary)
            if processes.is_primary():
                os.makedirs(temporary)
                create_records(records, layout.shape)
        sha256 = _write_all(records, parts, layout, first)
        files.write_json(_digest_file(temporary, processes.index()), {"sha256": sha256})
        processes.barrier("the shares of the store")
        if processes.is_primary():
            _publish(temporary, directory, layout, origin)
    except BaseException:
        if processes.is_primary():
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_all(path: str, parts: Iterable[History], layout: RecordLayout, first: int) -> list[str]:
    """Writes the tasks of this process; returns their checksums."""
    sha256: list[str] = []
    for part in parts:
        records = layout.encode(to_arrays(part))
        write_tasks(path, records, first)
        sha256 += checksums(records)
        first += len(records)
    return sha256


def _publish(temporary: str, directory: str, layout: RecordLayout, origin: Origin) -> None:
    """Adds the manifest, with the checksums of all processes, and gives the folder its name."""
    parts = [_take(_digest_file(temporary, i)) for i in range(processes.count())]
    write_manifest(temporary, layout, [x for part in parts for x in part], origin)
    os.replace(temporary, directory)


def _digest_file(temporary: str, index: int) -> str:
    return os.path.join(temporary, f"sha256-{index}.json")


def _take(path: str) -> list[str]:
    """Reads the checksums in a file that is then needed no more."""
    sha256: list[str] = files.read_json(path, "start again", {"sha256": list})["sha256"]
    os.remove(path)
    return sha256
