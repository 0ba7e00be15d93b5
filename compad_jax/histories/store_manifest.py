"""The manifest of a store: what made its histories, how their records are laid out, checksums."""

import importlib.metadata
import os
from typing import Any, NamedTuple

import tensorstore

from compad_jax.backend import files
from compad_jax.config.checks import ConfigError, one_line, require
from compad_jax.histories.store_records import ArrayLayout, RecordLayout, is_address

VERSION = 4  # Of the format; stores of another one are refused.
_NAME = "manifest.json"
_ADVICE = "name another --config.data.dir"  # What is broken may be anybody's: not to be deleted.
_DTYPES = {"bool", "float16", "float32", "float64"} | {
    f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}


class Origin(NamedTuple):
    """What makes histories: stores of equal origin hold the same ones."""

    settings: dict[str, Any]
    program: str  # Hash of the code that collects them, see `collection.program_hash`.


class Manifest(NamedTuple):
    """What a store says of itself."""

    origin: Origin
    layout: RecordLayout
    sha256: list[str]  # Of each task's records, see `store_records.checksums`.
    versions: dict[str, Any]  # For information only.


def versions() -> dict[str, str]:
    """Those of the libraries that make and write histories."""
    return {name: importlib.metadata.version(name) for name in ("jax", "numpy", "tensorstore")}


def write_manifest(directory: str, layout: RecordLayout, sha256: list[str], origin: Origin) -> None:
    """Adds the manifest to records that are on disk; an OSError if it cannot.

    Args:
        directory: of the store.
        layout: of the records; its order is kept.
        sha256: checksums of the G tasks.
        origin: what made them.
    """
    manifest = {
        "format_version": VERSION,
        **origin._asdict(),
        "arrays": {name: x._asdict() for name, x in layout.arrays.items()},
        "sha256": sha256,
        "versions": versions(),
    }
    files.write_json(os.path.join(directory, _NAME), manifest)


def read_manifest(directory: str) -> Manifest:
    """Reads the manifest of a store, or of an address.

    Raises:
        ConfigError: there is none, it is of another format, or it is not whole: with its name.
        OSError: it must not be read.
    """
    path = os.path.join(directory, _NAME)
    try:
        manifest = files.parse_object(_read_file(directory, path), path, _ADVICE)
        files.require_fields(path, manifest, {"format_version": int}, _ADVICE)
    except (FileNotFoundError, NotADirectoryError, ConfigError) as error:
        why = str(error) if isinstance(error, ConfigError) else f"{directory}: {_ADVICE}"
        raise ConfigError(f"{why} (it is not a store of histories)") from error
    require(
        manifest["format_version"] == VERSION,
        f"{directory}: has another format version; {_ADVICE}",
    )
    fields = {"settings": dict, "program": str, "arrays": dict, "sha256": list, "versions": dict}
    files.require_fields(path, manifest, fields, _ADVICE)
    layout, sha256 = _parse_layout(path, manifest["arrays"]), manifest["sha256"]
    num_tasks = layout.shape[0]
    require(
        len(sha256) == num_tasks,
        f"{path}: 'sha256' has {len(sha256)} checksums for {num_tasks} tasks; {_ADVICE}",
    )
    origin = Origin(manifest["settings"], manifest["program"])
    return Manifest(origin, layout, sha256, manifest["versions"])


def _parse_layout(path: str, entries: dict[str, Any]) -> RecordLayout:
    """The layout of records; a ConfigError unless the entries are arrays [G, R, ...]."""
    arrays = {}
    for name, entry in entries.items():
        where = f"{path}, {name}"
        files.require_fields(where, entry, {"shape": list, "dtype": str}, _ADVICE)
        arrays[name] = array = ArrayLayout(entry["shape"], entry["dtype"])
        are_sizes = all(type(size) is int and 0 < size < 2**63 for size in array.shape)
        is_array = len(array.shape) in (2, 3, 4) and are_sizes and array.dtype in _DTYPES
        require(is_array, f"{where}: is no array of histories; {_ADVICE}")
    leading = {tuple(array.shape[:2]) for array in arrays.values()}
    require(
        len(leading) == 1,
        f"{path}: 'arrays' are of {len(leading)} numbers of tasks and streams; must be of one; "
        f"{_ADVICE}",
    )
    return RecordLayout(arrays)


def _read_file(directory: str, path: str) -> bytes:
    """What stands in a file of a store."""
    if not is_address(directory):
        return files.read_bytes(path)
    try:
        found = tensorstore.KvStore.open(f"{directory}/").result().read(_NAME).result()
    except ValueError as error:
        raise ConfigError(f"{directory}: {one_line(error)}; cannot be reached") from error
    if found.state != "value":
        raise FileNotFoundError(path)
    return bytes(found.value)
