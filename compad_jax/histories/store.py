"""Histories on disk, or in an object store: Zarr arrays and a manifest."""

import hashlib
import importlib.metadata
import json
import os
from typing import Any, NamedTuple

import numpy as np
import tensorstore

from compad_jax.backend import files
from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError, one_line, require, require_equal
from compad_jax.histories.store_arrays import checksums, open_array
from compad_jax.types import History, Transition

_VERSION = 3  # Of the format; stores of another one are refused.
_MANIFEST = "manifest.json"
_OPTIONAL = ("log_probs", "target", "length")  # Arrays that a history may lack.
IMPORTED = "imported"  # `source.name` of histories that others have made, see `own.write`.
ADVICE = "delete it, or name another --config.data.dir"  # Only where our manifest is.
_IMPORT_ADVICE = "set them so, import again, or name another --config.data.dir"


class Origin(NamedTuple):
    """What makes histories: stores of equal origin hold the same ones."""

    settings: dict[str, Any]
    program: str  # Hash of the code that collects them, see `collection.program_hash`.


def store_settings(config: Config) -> dict[str, Any]:
    """The settings that determine the histories: all else may differ between runs."""
    env, source = to_dict(config.env), to_dict(config.source)
    for name in ("split_seed", "train_env_ratio", "validation_ratio"):
        del env[name]
    if config.source.name == IMPORTED:
        names = ("name", "num_streams", "num_steps", "target")
        return {"env": env, "source": {name: source[name] for name in names}}
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


def is_address(directory: str) -> bool:
    """Whether a store is not a folder but at an address, as gs://BUCKET/FOLDER."""
    return "://" in directory


class Store:
    """A store whose arrays are read when they are asked for."""

    def __init__(self, directory: str, origin: Origin) -> None:
        """Opens a store that was made before.

        Args:
            directory: of the store, or its address.
            origin: what should have made it.

        Raises:
            ConfigError: no store, another format or another origin.
            OSError: it must not be read.
        """
        manifest = _read_manifest(directory)
        advice = _IMPORT_ADVICE if origin.program == IMPORTED else ADVICE
        require_equal(directory, manifest["settings"], origin.settings, advice)
        require(
            manifest["program"] == origin.program,
            f"{directory}: made by other code with the same settings: the environment, the source "
            f"or JAX ({manifest['versions'].get('jax')}, now {_versions()['jax']}) has changed; "
            f"{ADVICE}",
        )
        names = {*manifest["arrays"], *_OPTIONAL}
        missing = sorted({*Transition._fields, *_OPTIONAL} ^ names)
        require(not missing, f"{directory}: {', '.join(missing)}: missing or unknown; {ADVICE}")
        self._directory, self._entries = directory, manifest["arrays"]

    @property
    def hash(self) -> str:
        """Identifies the histories, see `hash_store`."""
        return _hash(self._entries)

    @property
    def num_tasks(self) -> int:
        """G."""
        return len(self._entries["action"]["sha256"])

    def has(self, name: str) -> bool:
        """Whether the histories have an optional array: log_probs, target or length."""
        return name in self._entries

    def read(self, tasks: np.ndarray | None = None) -> History:
        """Reads and verifies tasks.

        Args:
            tasks: which ones, int [N], ascending; None: all.

        Returns:
            NumPy arrays with leading axes [G, R, T], or [N, R, T].

        Raises:
            ConfigError: they are damaged.
        """
        arrays: dict[str, np.ndarray] = {}
        for name, entry in self._entries.items():
            arrays[name] = _read(f"{self._directory}/{name}", ... if tasks is None else tasks)
            wanted = entry["sha256"]
            if tasks is not None:
                wanted = [wanted[i] for i in tasks if i < len(wanted)]
            is_whole = checksums(arrays[name]) == wanted
            require(is_whole, f"{self._directory}/{name}: is damaged (checksum); {ADVICE}")
        return _to_history(arrays)

    def read_histories(self, task: np.ndarray, stream: np.ndarray) -> History:
        """Reads single histories; the checksum of each is verified on the way.

        Args:
            task: of each history, int [...].
            stream: likewise.

        Returns:
            NumPy arrays with leading axes [..., T].

        Raises:
            ConfigError: they are damaged.
        """
        paths = {name: f"{self._directory}/{name}" for name in self._entries}
        return _to_history({name: _read(path, (task, stream)) for name, path in paths.items()})


def _read(path: str, where: Any) -> np.ndarray:
    try:
        return open_array(path).vindex[where].read().result()
    except Exception as error:  # TensorStore raises many kinds on flipped bytes.
        raise ConfigError(f"{path}: is damaged; {ADVICE}") from error


def read_store(directory: str, origin: Origin, tasks: np.ndarray | None = None) -> History:
    """Reads whole histories of the expected origin; see `Store` and `Store.read`."""
    return Store(directory, origin).read(tasks)


def hash_store(directory: str) -> str:
    """Identifies the histories of a store by its manifest, whatever made them, in hexadecimal.

    Stores of the same arrays have the same. A ConfigError if no store is there.
    """
    return _hash(_read_manifest(directory)["arrays"])


def _hash(entries: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:16]


def read_origin(directory: str) -> Origin:
    """What made a store, as it says itself; a ConfigError if no store is there."""
    manifest = _read_manifest(directory)
    return Origin(manifest["settings"], manifest["program"])


def write_manifest(directory: str, entries: dict[str, dict[str, Any]], origin: Origin) -> None:
    """Adds the manifest to arrays that are on disk.

    Entries are shape, dtype and checksum of each task, of each array.
    """
    manifest = {
        "format_version": _VERSION,
        **origin._asdict(),
        "arrays": entries,
        "versions": _versions(),  # For information only.
    }
    files.write_json(os.path.join(directory, _MANIFEST), manifest)


def _read_manifest(directory: str) -> dict[str, Any]:
    """The manifest; a folder that lacks a whole one may be anybody's: nobody is told to delete."""
    path, advice = os.path.join(directory, _MANIFEST), "name another --config.data.dir"
    try:
        manifest = files.parse_object(_read_file(directory, path), path, advice)
        files.require_fields(path, manifest, {"format_version": int}, advice)
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
        files.require_fields(f"{path}, {name}", entry, {"sha256": list}, advice)
    return manifest


def _read_file(directory: str, path: str) -> bytes:
    """What stands in a file of a store."""
    if not is_address(directory):
        return files.read_bytes(path)
    try:
        found = tensorstore.KvStore.open(f"{directory}/").result().read(_MANIFEST).result()
    except ValueError as error:
        raise ConfigError(f"{directory}: {one_line(error)}; cannot be reached") from error
    if found.state != "value":
        raise FileNotFoundError(path)
    return bytes(found.value)


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("jax", "numpy", "tensorstore")}


def to_arrays(history: History) -> dict[str, np.ndarray]:
    """The arrays of a store by their names."""
    return {name: np.asarray(array) for name, array in history.arrays.items()}


def _to_history(arrays: dict[str, Any]) -> History:
    optional = {name: arrays.pop(name, None) for name in _OPTIONAL}
    return History(Transition(**arrays), **optional)
