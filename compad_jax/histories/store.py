"""Histories on disk, or in an object store: their records and a manifest."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError, require, require_equal
from compad_jax.histories.store_manifest import VERSION, Manifest, Origin, read_manifest, versions
from compad_jax.histories.store_records import checksums, open_records
from compad_jax.types import History, Transition

RECORDS = "records"  # Their folder in a store.
_OPTIONAL = ("log_probs", "target", "length")  # Arrays that a history may lack.
_BLOCK = 2**26  # Bytes of records that are read at once, beside the arrays that they become.
IMPORTED = "imported"  # `source.name` of histories that others have made, see `own.write`.
ADVICE = "delete it, or name another --config.data.dir"  # Only where our manifest is.
_IMPORT_ADVICE = "set them so, import again, or name another --config.data.dir"


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
    text = json.dumps([VERSION, *origin], sort_keys=True)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()[:8]
    return os.path.join("data", f"{config.env.name}-{config.source.name}-{fingerprint}")


class Store:
    """A store whose histories are read when they are asked for."""

    def __init__(self, directory: str, origin: Origin) -> None:
        """Opens a store that was made before.

        Args:
            directory: of the store, or its address.
            origin: what should have made it.

        Raises:
            ConfigError: no store, another format or another origin.
            OSError: it must not be read.
        """
        manifest = read_manifest(directory)
        advice = _IMPORT_ADVICE if origin.program == IMPORTED else ADVICE
        require_equal(directory, manifest.origin.settings, origin.settings, advice)
        require(
            manifest.origin.program == origin.program,
            f"{directory}: made by other code with the same settings: the environment, the source "
            f"or JAX ({manifest.versions.get('jax')}, now {versions()['jax']}) has changed; "
            f"{ADVICE}",
        )
        names = {*manifest.layout.arrays, *_OPTIONAL}
        missing = sorted({*Transition._fields, *_OPTIONAL} ^ names)
        require(not missing, f"{directory}: {', '.join(missing)}: missing or unknown; {ADVICE}")
        self._manifest, self._layout = manifest, manifest.layout
        self._path = f"{directory}/{RECORDS}"

    @property
    def hash(self) -> str:
        """Identifies the histories, see `hash_store`."""
        return _hash(self._manifest)

    @property
    def num_tasks(self) -> int:
        """G."""
        return self._layout.shape[0]

    def has(self, name: str) -> bool:
        """Whether the histories have an optional array: log_probs, target or length."""
        return name in self._layout.arrays

    def read(self, tasks: np.ndarray | None = None) -> History:
        """Reads and verifies tasks.

        Args:
            tasks: which ones, int [N], ascending; None: all.

        Returns:
            NumPy arrays with leading axes [G, R, T], or [N, R, T].

        Raises:
            ConfigError: they are damaged.
        """
        tasks = np.arange(self.num_tasks) if tasks is None else tasks
        opened = self._open()  # Before there are arrays: their sizes may be damaged.
        arrays, (_, num_streams, num_bytes) = self._layout.empty(len(tasks)), self._layout.shape
        size = max(1, _BLOCK // (num_streams * num_bytes))
        for start in range(0, len(tasks), size):
            block = tasks[start : start + size]
            records = self._read(opened, block)
            is_whole = checksums(records) == [self._manifest.sha256[i] for i in block]
            require(is_whole, f"{self._path}: is damaged (checksum); {ADVICE}")
            for name, array in self._layout.views(records).items():
                arrays[name][start : start + size] = array
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
        return _to_history(self._layout.decode(self._read(self._open(), (task, stream))))

    def _open(self) -> Any:
        """The records; a ConfigError unless they are as large as the manifest says."""
        with _naming_damage(self._path):
            opened = open_records(self._path)
        found, wanted = f"{opened.dtype.name} {list(opened.shape)}", f"uint8 {self._layout.shape}"
        require(
            found == wanted,
            f"{self._path}: is damaged: is {found}; must be {wanted} by manifest.json; {ADVICE}",
        )
        return opened

    def _read(self, opened: Any, where: Any) -> np.ndarray:
        """Records, uint8 [..., B], by tasks, or by tasks and streams."""
        with _naming_damage(self._path):
            return opened.vindex[where].read().result()


@contextmanager
def _naming_damage(path: str) -> Iterator[None]:
    """Turns TensorStore's own errors in reading into a ConfigError."""
    try:
        yield
    except Exception as error:  # It raises many kinds on flipped bytes.
        raise ConfigError(f"{path}: is damaged; {ADVICE}") from error


def read_store(directory: str, origin: Origin, tasks: np.ndarray | None = None) -> History:
    """Reads whole histories of the expected origin; see `Store` and `Store.read`."""
    return Store(directory, origin).read(tasks)


def hash_store(directory: str) -> str:
    """Identifies the histories of a store by its manifest, whatever made them, in hexadecimal.

    Stores of the same arrays have the same. A ConfigError if no store is there.
    """
    return _hash(read_manifest(directory))


def _hash(manifest: Manifest) -> str:
    text = json.dumps([*manifest.layout.arrays.items(), *manifest.sha256])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_origin(directory: str) -> Origin:
    """What made a store, as it says itself; a ConfigError if no store is there."""
    return read_manifest(directory).origin


def to_arrays(history: History) -> dict[str, np.ndarray]:
    """The arrays of a store by their names."""
    return {name: np.asarray(array) for name, array in history.arrays.items()}


def _to_history(arrays: dict[str, Any]) -> History:
    optional = {name: arrays.pop(name, None) for name in _OPTIONAL}
    return History(Transition(**arrays), **optional)
