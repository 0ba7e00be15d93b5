"""The records of a store: Zarr 3, a file a task, and in it a chunk with a checksum a history."""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import numpy as np
import tensorstore

from compad_jax.backend import files

# Zeros are written like all else, so that what is missing is noticed and not read as zeros.
_NOTHING_IS_LEFT_OUT = {"store_data_equal_to_fill_value": True, "fill_missing_data_reads": False}


class ArrayLayout(NamedTuple):
    """One array of histories, [G, R, T, ...]; lengths have no more axes than [G, R]."""

    shape: list[int]
    dtype: str

    @property
    def num_bytes(self) -> int:
        """Bytes of the array in one history."""
        return math.prod(self.shape[2:]) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class RecordLayout:
    """Which bytes of a record are which array of its history.

    The arrays, of which there is one at least, stand one after another in the order of `arrays`,
    in C order and little endian. No gaps align them, as they are copied when they are read.
    """

    arrays: dict[str, ArrayLayout]

    @property
    def shape(self) -> list[int]:
        """[G, R, B] of all records, B bytes each."""
        first = next(iter(self.arrays.values()))
        return [*first.shape[:2], sum(x.num_bytes for x in self.arrays.values())]

    def views(self, records: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays that stand in records, by name; what is written to them is written there.

        Args:
            records: uint8 [..., B].

        Returns:
            Arrays [..., T, ...] of the types of `arrays`, little endian and not aligned.
        """
        views, end = {}, 0
        for name, layout in self.arrays.items():
            start, end = end, end + layout.num_bytes
            values = records[..., start:end].view(np.dtype(layout.dtype).newbyteorder("<"))
            views[name] = values.reshape((*records.shape[:-1], *layout.shape[2:]), copy=False)
        return views

    def encode(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Records, uint8 [N, R, B], of arrays [N, R, T, ...], which are cast to the types here."""
        assert arrays.keys() == self.arrays.keys()
        leading = arrays[next(iter(self.arrays))].shape[:2]
        records = np.empty((*leading, self.shape[-1]), np.uint8)
        for name, view in self.views(records).items():
            chex.assert_shape(arrays[name], view.shape)
            view[...] = arrays[name]
        return records

    def decode(self, records: np.ndarray) -> dict[str, np.ndarray]:
        """Arrays of their own, [..., T, ...], of records, uint8 [..., B]."""
        views = self.views(records)
        return {name: x.astype(self.arrays[name].dtype) for name, x in views.items()}

    def empty(self, num_tasks: int) -> dict[str, np.ndarray]:
        """Arrays [num_tasks, R, T, ...] to be filled, by name."""
        layouts = self.arrays.items()
        return {name: np.empty((num_tasks, *x.shape[1:]), x.dtype) for name, x in layouts}


def is_address(path: str) -> bool:
    """Whether a path is not that of a folder but an address, as gs://BUCKET/FOLDER."""
    return "://" in path


def open_records(path: str, shape: Sequence[int] | None = None) -> Any:
    """Opens the `tensorstore.TensorStore` of records; with a shape [G, R, B], creates it.

    The path is that of a folder, or an address that TensorStore knows, as gs://BUCKET/FOLDER.
    """
    folder = {"driver": "file", "path": f"{os.path.abspath(path)}/"}
    place = f"{path}/" if is_address(path) else folder
    spec: dict[str, Any] = {"driver": "zarr3", "kvstore": place, **_NOTHING_IS_LEFT_OUT}
    if shape is None:
        return tensorstore.open(spec, open=True).result()
    spec["metadata"] = _metadata(shape)
    return tensorstore.open(spec, create=True).result()


def _metadata(shape: Sequence[int]) -> dict[str, Any]:
    """A shard a task: few files. A chunk a history: one is read without the others."""
    _, num_streams, num_bytes = shape
    numbers = [{"name": "bytes", "configuration": {"endian": "little"}}]  # Of the index.
    compressed = {"name": "zstd", "configuration": {"level": 1}}
    shard = {
        "chunk_shape": [1, 1, num_bytes],
        "codecs": [{"name": "bytes"}, compressed, {"name": "crc32c"}],
        "index_codecs": [*numbers, {"name": "crc32c"}],
    }
    task = {"chunk_shape": [1, num_streams, num_bytes]}
    return {
        "shape": list(shape),
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": task},
        "codecs": [{"name": "sharding_indexed", "configuration": shard}],
    }


def create_records(path: str, shape: Sequence[int]) -> None:
    """Makes a place for records [G, R, B], without values; an OSError if it cannot."""
    with _naming_errors(path):
        open_records(path, shape)


def write_tasks(path: str, records: np.ndarray, first: int = 0) -> None:
    """Writes the records of consecutive tasks, uint8 [N, R, B]; an OSError if it cannot.

    Nothing goes on in the background once this has ended or failed.
    """
    with _naming_errors(path):
        opened = open_records(path)
        tasks = [opened[first + i].write(x) for i, x in enumerate(records)]
        errors = [error for task in tasks if (error := task.exception())]
        if errors:
            raise errors[0]


def checksums(records: np.ndarray) -> list[str]:
    """Of each task's records, uint8 [N, R, B]: 64 bits in hexadecimal, to verify what is read."""
    return [hashlib.sha256(x.tobytes()).hexdigest()[:16] for x in records]


@contextmanager
def _naming_errors(path: str) -> Iterator[None]:
    """Turns TensorStore's own errors in writing, as of a full disk, into an OSError."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise files.as_os_error(error, path) from error
