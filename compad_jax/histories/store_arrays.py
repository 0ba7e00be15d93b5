"""One array of a store: Zarr 3, a file a task, and in it a chunk with a checksum a history."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import tensorstore

from compad_jax.backend import files

# Zeros are written like all else, so that what is missing is noticed and not read as zeros.
_NOTHING_IS_LEFT_OUT = {"store_data_equal_to_fill_value": True, "fill_missing_data_reads": False}


class Layout(NamedTuple):
    """One array [G, R, T, ...] of a store."""

    shape: list[int]
    dtype: str


def open_array(path: str, layout: Layout | None = None) -> Any:
    """Opens the `tensorstore.TensorStore` of an array; with a layout, creates it.

    The path is that of a folder, or an address that TensorStore knows, as gs://BUCKET/FOLDER.
    """
    is_address = "://" in path
    place = f"{path}/" if is_address else {"driver": "file", "path": f"{os.path.abspath(path)}/"}
    spec: dict[str, Any] = {"driver": "zarr3", "kvstore": place, **_NOTHING_IS_LEFT_OUT}
    if layout is None:
        return tensorstore.open(spec, open=True).result()
    spec["metadata"] = _metadata(layout)
    return tensorstore.open(spec, create=True).result()


def _metadata(layout: Layout) -> dict[str, Any]:
    """A shard a task: few files. A chunk a history: one is read without the others."""
    history = [1, 1, *layout.shape[2:]]
    numbers = [{"name": "bytes", "configuration": {"endian": "little"}}]
    compressed = {"name": "zstd", "configuration": {"level": 1}}
    shard = {
        "chunk_shape": history,
        "codecs": [*numbers, compressed, {"name": "crc32c"}],
        "index_codecs": [*numbers, {"name": "crc32c"}],
    }
    task = {"chunk_shape": [1, *layout.shape[1:]]}
    return {
        "shape": layout.shape,
        "data_type": layout.dtype,
        "chunk_grid": {"name": "regular", "configuration": task},
        "codecs": [{"name": "sharding_indexed", "configuration": shard}],
    }


def create_array(path: str, layout: Layout) -> None:
    """Creates an array of a store, without values; an OSError if it cannot."""
    with _naming_errors(path):
        open_array(path, layout)


def write_tasks(path: str, values: np.ndarray, first: int = 0) -> None:
    """Writes consecutive tasks [N, ...] of an array that is there; an OSError if it cannot.

    Nothing goes on in the background once this has ended or failed.
    """
    with _naming_errors(path):
        opened = open_array(path)
        tasks = [opened[first + i].write(x) for i, x in enumerate(values)]
        errors = [error for task in tasks if (error := task.exception())]
        if errors:
            raise errors[0]


def compact(array: np.ndarray) -> np.ndarray:
    """Integers in the smallest signed type that holds them."""
    if array.dtype.kind == "i":
        low = min(int(array.min()), -int(array.max()) - 1)
        return array.astype(np.min_scalar_type(low))
    return array


def checksums(tasks: np.ndarray | Sequence[np.ndarray]) -> list[str]:
    """Of each task, so that those that are read can be verified: 64 bits in hexadecimal."""
    return [hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16] for x in tasks]


@contextmanager
def _naming_errors(path: str) -> Iterator[None]:
    """Turns TensorStore's own errors in writing, as of a full disk, into an OSError."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise files.as_os_error(error, path) from error
