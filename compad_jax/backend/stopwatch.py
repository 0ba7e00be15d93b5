"""Wall-clock seconds of the phases of a job."""

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compad_jax.backend.provenance import describe_commit, describe_hardware, describe_versions


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

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures what happens inside."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - start

    def save(self, path: str) -> None:
        """Writes the phases, the peak memory and where they were measured, as JSON.

        What earlier processes wrote there is kept: seconds of a phase add up over all
        `processes`, so that a resumed training counts whole and one that was finished before
        is not lost. A process that was killed wrote nothing. Hardware, versions and commit
        are those of the last process.
        """
        earlier = _read(path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        seconds = dict(earlier["seconds"])
        for name, phase in self.seconds.items():
            seconds[name] = seconds.get(name, 0.0) + phase
        facts = {
            "seconds": {name: round(s, 1) for name, s in seconds.items()},
            "total_seconds": round(earlier["total_seconds"] + time.monotonic() - self._begin, 1),
            "peak_memory_gib": max(earlier["peak_memory_gib"], round(peak, 2)),
            "processes": earlier["processes"] + 1,
            "hardware": describe_hardware(),
            "versions": describe_versions(),
            "commit": describe_commit(),
        }
        with open(f"{path}.partial", "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=2, allow_nan=False)
            file.write("\n")
        os.replace(f"{path}.partial", path)


def _read(path: str) -> dict[str, Any]:
    """What `save` wrote before; nothing, if there is no such file or it cannot be read."""
    nothing = {"seconds": {}, "total_seconds": 0.0, "peak_memory_gib": 0.0, "processes": 0}
    try:
        with open(path, encoding="utf-8") as file:
            return nothing | {"processes": 1} | json.load(file)
    except (OSError, ValueError):
        return nothing
