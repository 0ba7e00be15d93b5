"""Histories on disk: Zarr arrays and a manifest, written whole or not at all."""

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import tensorstore

from compad_jax.backend import files
from compad_jax.backend.ownership import owned
from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError, require, require_equal
from compad_jax.types import History, Transition

_VERSION = 2  # Of the format; stores of another one are refused.
_MANIFEST = "manifest.json"
_OPTIONAL = ("log_probs", "target")  # Arrays that a history may lack.
ADVICE = "delete it, or name another --config.data.dir"  # Only where our manifest is.


class Origin(NamedTuple):
    """What makes histories: stores of equal origin hold the same ones."""

    settings: dict[str, Any]
    program: str  # Hash of the code that collects them, see `collection.program_hash`.


def store_settings(config: Config) -> dict[str, Any]:
    """The settings that determine the histories: all else may differ between runs."""
    env, source = to_dict(config.env), to_dict(config.source)
    for name in ("split_seed", "train_env_ratio", "validation_ratio"):
        del env[name]
    own = source.pop(config.source.name, {})
    source = {k: v for k, v in source.items() if not isinstance(v, dict)}
    return {"env": env, "source": source | {config.source.name: own}}


def store_directory(config: Config, origin: Origin) -> str:
    """`data.dir`, or a folder under `data/` named after the origin of the histories."""
    if config.data.dir:
        return config.data.dir
    text = json.dumps([_VERSION, *origin], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:8]
    return os.path.join("data", f"{config.env.name}-{config.source.name}-{fingerprint}")


def write_store(directory: str, history: History, origin: Origin) -> None:
    """Writes histories under a temporary name and renames when all is on disk.

    Args:
        directory: must not exist; owned, see `making`.
        history: NumPy arrays with leading axes [G, R, T].
        origin: what made them.

    Raises:
        OSError: it cannot be written; nothing is left then.
    """
    temporary = files.temporary_name(directory)
    os.makedirs(temporary)
    try:
        arrays = {name: _compact(array) for name, array in _flatten(history).items()}
        for name, array in arrays.items():
            _write(os.path.join(temporary, name), array)
        manifest = {
            "format_version": _VERSION,
            **origin._asdict(),
            "arrays": {
                name: {"shape": array.shape, "dtype": str(array.dtype), "sha256": _checksum(array)}
                for name, array in arrays.items()
            },
            "versions": _versions(),  # For information only.
        }
        files.write_json(os.path.join(temporary, _MANIFEST), manifest)
        os.replace(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
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


def read_store(directory: str, origin: Origin) -> History:
    """Reads histories and verifies that they are whole and of the expected origin.

    Args:
        directory: an existing store.
        origin: what should have made it.

    Returns:
        NumPy arrays with leading axes [G, R, T].

    Raises:
        ConfigError: no store, another format, another origin, or damaged data.
        OSError: it must not be read.
    """
    manifest = _read_manifest(directory)
    require_equal(directory, manifest["settings"], origin.settings, ADVICE)
    require(
        manifest["program"] == origin.program,
        f"{directory}: made by other code with the same settings: the environment, the source or "
        f"JAX ({manifest['versions'].get('jax')}, now {_versions()['jax']}) has changed; {ADVICE}",
    )
    names = {*manifest["arrays"], *_OPTIONAL}
    missing = sorted({*Transition._fields, *_OPTIONAL} ^ names)
    require(not missing, f"{directory}: {', '.join(missing)}: missing or unknown; {ADVICE}")
    arrays = {}
    for name, entry in manifest["arrays"].items():
        try:
            array = _open(os.path.join(directory, name)).read().result()
        except Exception as error:  # TensorStore raises many kinds on flipped bytes.
            raise ConfigError(f"{directory}/{name}: is damaged; {ADVICE}") from error
        if _checksum(array) != entry["sha256"]:
            raise ConfigError(f"{directory}/{name}: is damaged (checksum); {ADVICE}")
        arrays[name] = array
    optional = {name: arrays.pop(name, None) for name in _OPTIONAL}
    return History(Transition(**arrays), **optional)


def hash_store(directory: str) -> str:
    """Identifies the histories of a store by its manifest, whatever made them.

    Returns:
        Hexadecimal digits; stores of the same arrays have the same.

    Raises:
        ConfigError: no store is there.
    """
    text = json.dumps(_read_manifest(directory)["arrays"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_manifest(directory: str) -> dict[str, Any]:
    """The manifest; a folder that lacks a whole one may be anybody's: nobody is told to delete."""
    path, advice = os.path.join(directory, _MANIFEST), "name another --config.data.dir"
    try:
        manifest = files.read_json(path, advice, {"format_version": int})
    except (FileNotFoundError, NotADirectoryError, ConfigError) as error:
        why = str(error) if isinstance(error, ConfigError) else f"{directory}: {advice}"
        raise ConfigError(f"{why} (it is not a store of histories)") from error
    require(
        manifest["format_version"] == _VERSION,
        f"{directory}: has another format version; {advice}",
    )
    fields = {"settings": dict, "program": str, "arrays": dict, "versions": dict}
    files.require_fields(path, manifest, fields, advice)
    for name, entry in manifest["arrays"].items():
        files.require_fields(f"{path}, {name}", entry, {"sha256": str}, advice)
    return manifest


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jax", "numpy", "tensorstore")}


def _flatten(history: History) -> dict[str, np.ndarray]:
    arrays = history.transition._asdict() | {name: getattr(history, name) for name in _OPTIONAL}
    return {name: np.asarray(array) for name, array in arrays.items() if array is not None}


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


def _write(path: str, array: np.ndarray) -> None:
    """Writes an array; nothing goes on in the background once this has ended or failed."""
    try:
        opened = _open(path, array)
        tasks = [opened[task].write(values) for task, values in enumerate(array)]
        errors = [error for task in tasks if (error := task.exception())]
        if errors:
            raise errors[0]
    except (ValueError, RuntimeError) as error:  # TensorStore's, as of a full disk.
        raise files.as_os_error(error, path) from error
