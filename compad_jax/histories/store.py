"""Histories on disk: Zarr arrays and a manifest, written whole or not at all."""

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator, Sequence
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
        arrays = {name: compact(array) for name, array in to_arrays(history).items()}
        for name, array in arrays.items():
            path = os.path.join(temporary, name)
            create_array(path, str(array.dtype), array.shape)
            write_tasks(path, array)
        entries = {
            name: {"shape": array.shape, "dtype": str(array.dtype), "sha256": checksums(array)}
            for name, array in arrays.items()
        }
        publish_store(temporary, directory, entries, origin)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def publish_store(
    temporary: str, directory: str, entries: dict[str, dict[str, Any]], origin: Origin
) -> None:
    """Adds the manifest to arrays that are on disk, and gives their folder its name.

    Args:
        temporary: folder of the arrays.
        directory: the name; must not exist.
        entries: shape, dtype and checksum of each task, of each array.
        origin: what made them.
    """
    manifest = {
        "format_version": _VERSION,
        **origin._asdict(),
        "arrays": entries,
        "versions": _versions(),  # For information only.
    }
    files.write_json(os.path.join(temporary, _MANIFEST), manifest)
    os.replace(temporary, directory)


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


def read_store(directory: str, origin: Origin, tasks: np.ndarray | None = None) -> History:
    """Reads histories and verifies that they are whole and of the expected origin.

    Args:
        directory: an existing store.
        origin: what should have made it.
        tasks: which ones to read, int [N], ascending; None: all.

    Returns:
        NumPy arrays with leading axes [G, R, T], or [N, R, T].

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
    arrays: dict[str, Any] = {}
    for name, entry in manifest["arrays"].items():
        arrays[name] = _read_array(f"{directory}/{name}", entry["sha256"], tasks)
    optional = {name: arrays.pop(name, None) for name in _OPTIONAL}
    return History(Transition(**arrays), **optional)


def _read_array(path: str, sha256: str | list[str], tasks: np.ndarray | None) -> np.ndarray:
    """These tasks of an array, or all, if they are as they were written."""
    is_old = isinstance(sha256, str)  # Earlier versions wrote one checksum for all tasks.
    try:
        array = open_array(path)
        array = (array if tasks is None or is_old else array[tasks]).read().result()
    except Exception as error:  # TensorStore raises many kinds on flipped bytes.
        raise ConfigError(f"{path}: is damaged; {ADVICE}") from error
    if is_old:
        is_whole = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() == sha256
        array = array if tasks is None else array[tasks]
    else:
        wanted = sha256 if tasks is None else [sha256[i] for i in tasks if i < len(sha256)]
        is_whole = checksums(array) == wanted
    require(is_whole, f"{path}: is damaged (checksum); {ADVICE}")
    return array


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
        files.require_fields(f"{path}, {name}", entry, {"sha256": (str, list)}, advice)
    return manifest


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jax", "numpy", "tensorstore")}


def to_arrays(history: History) -> dict[str, np.ndarray]:
    """The arrays of a store by their names."""
    arrays = history.transition._asdict() | {name: getattr(history, name) for name in _OPTIONAL}
    return {name: np.asarray(array) for name, array in arrays.items() if array is not None}


def compact(array: np.ndarray) -> np.ndarray:
    """Integers in the smallest signed type that holds them."""
    if array.dtype.kind == "i":
        low = min(int(array.min()), -int(array.max()) - 1)
        return array.astype(np.min_scalar_type(low))
    return array


def checksums(array: np.ndarray) -> list[str]:
    """Of each task, so that those that are read can be verified: 64 bits in hexadecimal."""
    return [hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16] for x in array]


def open_array(path: str, dtype: str = "", shape: Sequence[int] = ()) -> Any:
    """Opens an array of a store; with a type, creates it."""
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": os.path.abspath(path)}}
    if not dtype:
        return tensorstore.open(spec, open=True).result()
    spec["metadata"] = {"chunks": [1, *shape[1:]]}  # One task a chunk.
    return tensorstore.open(spec, create=True, dtype=np.dtype(dtype), shape=shape).result()


def create_array(path: str, dtype: str, shape: Sequence[int]) -> None:
    """Creates an array of a store, without values; an OSError if it cannot."""
    with _naming_errors(path):
        open_array(path, dtype, shape)


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


@contextmanager
def _naming_errors(path: str) -> Iterator[None]:
    """Turns TensorStore's own errors in writing, as of a full disk, into an OSError."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise files.as_os_error(error, path) from error
