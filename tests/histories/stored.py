"""A store of noise, what it must hold, and ways to change it."""

import glob
import json
import os

import numpy as np

from compad_jax.backend import files
from compad_jax.histories import store, store_writer
from compad_jax.types import History, Transition

_SETTINGS = {"env": {"grid_size": 9, "start": "center"}, "source": {"seed": 0, "lr": 3e-4}}
ORIGIN = store.Origin(_SETTINGS, "c0de")
DTYPES = {
    "obs": "int8",  # As small as the values allow.
    "action": "int8",
    "reward": "float32",
    "next_obs": "int16",
    "done": "bool",
    "log_probs": "float16",
    "target": "int8",
    "length": "int8",
}


def history(seed=0):
    """Noise, [G, R, T] = [3, 4, 50]."""
    rng = np.random.default_rng(seed)
    shape = (3, 4, 50)
    return History(
        Transition(
            obs=rng.integers(9, size=(*shape, 2), dtype=np.int32),
            action=rng.integers(5, size=shape, dtype=np.int32),
            reward=rng.normal(size=shape).astype(np.float32),
            next_obs=rng.integers(300, size=(*shape, 2), dtype=np.int32),
            done=rng.random(shape) < 0.1,
        ),
        log_probs=rng.normal(size=(*shape, 5)).astype(np.float16),
        target=rng.integers(5, size=shape, dtype=np.int32),
        length=rng.integers(1, 51, size=shape[:2], dtype=np.int32),
    )


def write(folder):
    """A store of `history()` in a folder."""
    path = str(folder / "histories")
    store_writer.write_store(path, history(), ORIGIN)
    return path


def assert_equal(read, expected, where=...):
    """Every array is that of other histories, there."""
    assert list(read.arrays) == list(expected.arrays)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array[where], err_msg=name)


def file_of(directory, task):
    """The file that holds the records of a task."""
    paths = glob.glob(os.path.join(directory, "records", "c", str(task), "**"), recursive=True)
    (path,) = filter(os.path.isfile, paths)
    return path


def change_manifest(directory, **changes):
    """Replaces entries of the manifest."""
    path = os.path.join(directory, "manifest.json")
    with open(path, encoding="utf-8") as file:
        manifest = json.load(file)
    files.write_json(path, manifest | changes)
