"""Wall-clock seconds of the phases of a job."""

import logging
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compad_jax.backend.files import read_json, require_fields, write_json
from compad_jax.backend.provenance import describe_commit, describe_hardware, describe_versions
from compad_jax.config.checks import ConfigError


def process_age() -> float:
    """Seconds since this process was started; 0 where the system does not tell."""
    try:
        with open("/proc/self/stat", encoding="utf-8") as stat, open("/proc/uptime") as uptime:
            started = int(stat.read().rsplit(")", 1)[1].split()[19])  # In ticks, after booting.
            return float(uptime.read().split()[0]) - started / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


class Stopwatch:
    """Wall-clock seconds of the phases of a job; phases may run side by side.

    The first one, `start`, is what the process took until now: Python and its imports.
    """

    def __init__(self) -> None:
        """Starts the clock."""
        self.seconds = {"start": process_age()}
        self._begin = time.monotonic() - self.seconds["start"]
        self._is_noted = False  # As a process that is not counted yet.

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures what happens inside."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - start

    def save(self, path: str, *, is_last: bool = True) -> None:
        """Writes the phases, the peak memory and where they were measured, as JSON.

        What earlier processes wrote there is kept: seconds of a phase add up over all
        `processes`, so that a resumed training counts whole and one that was finished before
        is not lost. A process that was killed is one of `processes_not_counted`, if it called
        this with `is_last` False when it began. Hardware, versions and commit are those of the
        last process.
        """
        earlier = _read(path)
        uncounted = earlier["processes_not_counted"] - self._is_noted
        if is_last:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            earlier["peak_memory_gib"] = max(earlier["peak_memory_gib"], round(peak, 2))
            earlier["total_seconds"] += time.monotonic() - self._begin
            earlier["processes"] += 1
            for name, phase in self.seconds.items():
                earlier["seconds"][name] = earlier["seconds"].get(name, 0.0) + phase
        facts = {
            "seconds": {name: round(s, 1) for name, s in earlier["seconds"].items()},
            "total_seconds": round(earlier["total_seconds"], 1),
            "peak_memory_gib": earlier["peak_memory_gib"],
            "processes": earlier["processes"],
            "processes_not_counted": uncounted if is_last else uncounted + 1,
            "hardware": describe_hardware(),
            "versions": describe_versions(),
            "commit": describe_commit(),
        }
        write_json(path, facts)
        self._is_noted = not is_last


def _read(path: str) -> dict[str, Any]:
    """What `save` wrote before; nothing, with a warning, if that cannot be used."""
    nothing = {"seconds": {}, "total_seconds": 0.0, "peak_memory_gib": 0.0, "processes": 0}
    numbers = dict.fromkeys(("total_seconds", "peak_memory_gib"), (int, float))
    advice = "its seconds are lost, and counted anew"
    try:
        found = read_json(path, advice, {"seconds": dict, **numbers})
        require_fields(
            path, found["seconds"], dict.fromkeys(found["seconds"], (int, float)), advice
        )
        found = {"processes": 1, "processes_not_counted": 0} | found
        require_fields(path, found, {"processes": int, "processes_not_counted": int}, advice)
        return found
    except FileNotFoundError:
        pass
    except ConfigError as error:
        logging.warning("%s", error)
    return nothing | {"processes_not_counted": 0}
