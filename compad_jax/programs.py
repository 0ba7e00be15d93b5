"""Compiled programs on disk: a second start neither traces nor compiles them.

JAX's own cache spares the compiler, not the tracing, which takes longer than anything else
in a start that finds all programs there.
"""

import functools
import hashlib
import json
import os
import pathlib
import pickle
import tempfile
import threading
from typing import Any

import jax
import jax.monitoring
from jax.experimental import serialize_executable

from compad_jax.runtime import (
    describe_hardware,
    describe_instruction_sets,
    describe_versions,
)

_MOST_KEPT = 64  # Programs of a few megabytes each; the oldest go first.


def load_or_compile(
    name: str, function: jax.stages.Wrapped, *args: Any, settings: Any
) -> jax.stages.Compiled:
    """Loads a program, or compiles and keeps it where there is none.

    A program is found again only on the same hardware, with the same libraries, options of
    JAX and sources of this package.

    Args:
        name: of the program, for people and to tell it from others with these settings.
        function: jitted; its compiler options are taken to follow from the sources.
        args: what it will be called with; shapes, types and shardings suffice.
        settings: what decides, beside the sources, what it is: plain values. None: it
            cannot be told, and the program is not kept.

    Returns:
        The compiled function.
    """
    path = _path(name, args, settings)
    if path:
        try:
            return _read(path)
        except Exception:  # Missing, or damaged in whatever way.
            pass
    lowered, hits = function.lower(*args), _hits.count
    compiled = lowered.compile()
    # What comes out of JAX's cache loses its code when serialised again (jaxlib 0.10).
    if path and _hits.count == hits:
        _write(path, compiled)
    return compiled


def _path(name: str, args: Any, settings: Any) -> str | None:
    """Where a program is kept; None: nowhere."""
    directory = jax.config.values["jax_compilation_cache_dir"]
    if settings is None or directory is None:
        return None
    return os.path.join(directory, "programs", f"{name}-{_fingerprint(args, settings)}")


class _Hits(threading.local):
    """How often a thread was served by JAX's own cache."""

    count = 0


_hits = _Hits()


def _count_hit(event: str, **_: Any) -> None:
    _hits.count += event == "/jax/compilation_cache/cache_hits"


jax.monitoring.register_event_listener(_count_hit)


def _read(path: str) -> jax.stages.Compiled:
    with open(path, "rb") as file:
        content, inputs, outputs, device_ids = pickle.load(file)
    devices = {device.id: device for device in jax.devices()}
    return serialize_executable.deserialize_and_load(
        content, inputs, outputs, execution_devices=[devices[i] for i in device_ids]
    )


def _write(path: str, compiled: jax.stages.Compiled) -> None:
    """Writes a program whole or not at all.

    Without room, or on a backend that cannot serialise, it will be compiled again.
    """
    try:
        executable: Any = compiled.runtime_executable()
        device_ids = [device.id for device in executable.local_devices()]
        content = pickle.dumps((*serialize_executable.serialize(compiled), device_ids))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
        kept = sorted(pathlib.Path(path).parent.iterdir(), key=os.path.getmtime)
        for old in kept[:-_MOST_KEPT]:
            old.unlink()
    except (OSError, ValueError, NotImplementedError, jax.errors.JaxRuntimeError):
        pass


def _fingerprint(args: Any, settings: Any) -> str:
    """Tells programs of one name apart."""
    leaves, structure = jax.tree.flatten(args)
    facts = {
        "arguments": [[x.shape, str(x.dtype), str(getattr(x, "sharding", ""))] for x in leaves],
        "structure": str(structure),
        "settings": settings,
        "sources": _sources(),
        "hardware": [describe_hardware(), describe_instruction_sets()],
        "versions": describe_versions(),
        "options": {k: str(v) for k, v in sorted(jax.config.values.items())},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@functools.cache
def _sources() -> str:
    """A checksum of this package."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
