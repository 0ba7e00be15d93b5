"""Histories on disk: Zarr arrays and a manifest, written whole or not at all."""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorstore

from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError, require_equal
from compad_jax.types import History, Transition

_VERSION = 1  # Of the format; stores of another one are refused.
_MANIFEST = "manifest.json"


def store_settings(config: Config) -> dict[str, Any]:
    """The settings that determine the histories: all else may differ between runs."""
    env, source = to_dict(config.env), to_dict(config.source)
    for name in ("split_seed", "train_env_ratio", "validation_ratio"):
        del env[name]
    own = source.pop(config.source.name, {})
    source = {k: v for k, v in source.items() if not isinstance(v, dict)}
    return {"env": env, "source": source | {config.source.name: own}}


def store_directory(config: Config) -> str:
    """`data.dir`, or a folder under `data/` named after the settings."""
    if config.data.dir:
        return config.data.dir
    text = json.dumps([_VERSION, store_settings(config)], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:8]
    return os.path.join("data", f"{config.env.name}-{config.source.name}-{fingerprint}")


def write_store(directory: str, history: History, settings: dict[str, Any]) -> None:
    """Writes histories under a temporary name and renames when all is on disk.

    Args:
        directory: must not exist.
        history: NumPy arrays with leading axes [G, R, T].
        settings: what made them.
    """
    temporary = f"{directory.rstrip(os.sep)}.partial"
    shutil.rmtree(temporary, ignore_errors=True)  # Left by an interrupted run.
    os.makedirs(temporary)
    arrays = {name: _compact(array) for name, array in _flatten(history).items()}
    for name, array in arrays.items():
        _open(os.path.join(temporary, name), array).write(array).result()
    manifest = {
        "format_version": _VERSION,
        "settings": settings,
        "arrays": {
            name: {"shape": array.shape, "dtype": str(array.dtype), "sha256": _checksum(array)}
            for name, array in arrays.items()
        },
        "versions": {p: importlib.metadata.version(p) for p in ("jax", "numpy", "tensorstore")},
    }
    with open(os.path.join(temporary, _MANIFEST), "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=2)
    os.replace(temporary, directory)


@contextmanager
def exclusive(directory: str) -> Iterator[None]:
    """Holds back other processes that would make the same store, until this one has.

    The operating system lets them go on when this process ends, however it ends.
    """
    lock = pathlib.Path(f"{directory.rstrip(os.sep)}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)  # Needed no more: from now on there is a store.


def read_store(directory: str, settings: dict[str, Any]) -> History:
    """Reads histories and verifies that they are whole and what was asked for.

    Args:
        directory: an existing store.
        settings: what should have made it.

    Returns:
        NumPy arrays with leading axes [G, R, T].

    Raises:
        ConfigError: no store, another format, other settings, or damaged data.
    """
    advice = "delete it, or name another --config.data.dir"
    try:
        with open(os.path.join(directory, _MANIFEST), encoding="utf-8") as file:
            manifest = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{directory}: is not a store of histories; {advice}") from error
    if manifest.get("format_version") != _VERSION:
        raise ConfigError(f"{directory}: has another format version; {advice}")
    require_equal(directory, manifest["settings"], settings, advice)
    arrays = {}
    for name, entry in manifest["arrays"].items():
        try:
            array = _open(os.path.join(directory, name)).read().result()
        except Exception as error:  # TensorStore raises many kinds on flipped bytes.
            raise ConfigError(f"{directory}/{name}: is damaged; {advice}") from error
        if _checksum(array) != entry["sha256"]:
            raise ConfigError(f"{directory}/{name}: is damaged (checksum); {advice}")
        arrays[name] = array
    log_probs = arrays.pop("log_probs")
    return History(Transition(**arrays), log_probs)


def _flatten(history: History) -> dict[str, np.ndarray]:
    arrays = history.transition._asdict() | {"log_probs": history.log_probs}
    return {name: np.asarray(array) for name, array in arrays.items()}


def _compact(array: np.ndarray) -> np.ndarray:
    """Integers in the smallest signed type that holds them."""
    if array.dtype.kind == "i":
        low = min(int(array.min()), -int(array.max()) - 1)
        return array.astype(np.min_scalar_type(low))
    return array


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _open(path: str, array: np.ndarray | None = None) -> Any:
    """Opens an array of a store, or creates one like `array`."""
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": os.path.abspath(path)}}
    if array is None:
        return tensorstore.open(spec, open=True).result()
    spec["metadata"] = {"chunks": [1, *array.shape[1:]]}  # One task a chunk.
    return tensorstore.open(spec, create=True, dtype=array.dtype, shape=array.shape).result()
