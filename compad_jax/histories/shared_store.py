"""One store that several processes make together, each its share of the tasks."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from compad_jax.backend import files, processes
from compad_jax.histories.store import (
    Origin,
    checksums,
    compact,
    create_array,
    making,
    publish_store,
    to_arrays,
    write_tasks,
)
from compad_jax.types import History


class Layout(NamedTuple):
    """One array of a store."""

    shape: list[int]  # [G, ...]
    dtype: str


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


def write_together(
    directory: str, history: History, tasks: np.ndarray, num_tasks: int, origin: Origin
) -> None:
    """Writes what all processes collected, under a temporary name, which process 0 renames.

    The store is the same, bit for bit, as if one process had written it: a task is a chunk, and
    chunks are files of their own.

    Args:
        directory: must not exist.
        history: NumPy arrays with leading axes [len(tasks), R, T]; one task where this process
            has none, which tells types and shapes.
        tasks: which ones these are, consecutive.
        num_tasks: of all processes, G.
        origin: what made them.
    """
    arrays = {name: compact(array) for name, array in to_arrays(history).items()}
    layouts = _agree_on_layouts(arrays, num_tasks)
    temporary = processes.exchange("where the store is made", files.temporary_name(directory))[0]
    with processes.primary_first("the arrays of the store"):
        processes.require_shared(temporary)
        if processes.is_primary():
            _create(temporary, layouts)
    digests = {}
    for name, array in arrays.items():
        share = array[: len(tasks)].astype(layouts[name].dtype)
        if len(tasks):
            write_tasks(os.path.join(temporary, name), share, int(tasks[0]))
        digests[name] = checksums(share)
    files.write_json(_digest_file(temporary, processes.index()), digests)
    processes.barrier("the shares of the store")
    if processes.is_primary():
        parts = [_take(_digest_file(temporary, i)) for i in range(processes.count())]
        entries = {
            name: layout._asdict() | {"sha256": [x for part in parts for x in part[name]]}
            for name, layout in layouts.items()
        }
        publish_store(temporary, directory, entries, origin)


def _agree_on_layouts(arrays: dict[str, np.ndarray], num_tasks: int) -> dict[str, Layout]:
    """Shapes of the whole arrays; integers as small as the values of all processes allow."""
    own = {name: str(array.dtype) for name, array in arrays.items()}
    types = processes.exchange("the types of the store", own)
    return {
        name: Layout(
            [num_tasks, *array.shape[1:]], str(np.result_type(*(each[name] for each in types)))
        )
        for name, array in arrays.items()
    }


def _create(temporary: str, layouts: dict[str, Layout]) -> None:
    """Makes the folder, and the arrays without their values."""
    os.makedirs(temporary)
    for name, layout in layouts.items():
        create_array(os.path.join(temporary, name), layout.dtype, layout.shape)


def _digest_file(temporary: str, index: int) -> str:
    return os.path.join(temporary, f"sha256-{index}.json")


def _take(path: str) -> dict[str, list[str]]:
    """Reads a file that is then needed no more."""
    with open(path, encoding="utf-8") as file:
        digests: dict[str, list[str]] = json.load(file)
    os.remove(path)
    return digests
