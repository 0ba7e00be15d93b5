"""What a program sets up once for its process, before it computes."""

import ctypes
import gc
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # Parameters of glibc's mallopt.


def configure(batch_size: int, *, quick_compile: bool = False) -> None:
    """Sets the process up; call it before anything runs on a device.

    A CPU counts as one device a core, as far as a batch can be shared out evenly: the
    matrices of a small model are too small for several cores to share, whole windows are
    not. Accelerators are not affected.

    Args:
        batch_size: windows of a training batch.
        quick_compile: see `TrainConfig`.
    """
    _choose_compiler_flags(quick_compile)
    _keep_freed_memory()
    _keep_compiled_programs()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    shares = max(n for n in range(1, cores + 1) if batch_size % n == 0)
    jax.config.update("jax_num_cpu_devices", shares)


def _choose_compiler_flags(quick_compile: bool) -> None:
    """Trades speed for compile time, as far as asked; flags that the user set count more.

    Unrolled loops keep the compiler busy and make no training step faster.
    """
    flags = ["--xla_backend_extra_options=xla_cpu_disable_loop_unrolling=true"]
    if quick_compile:
        flags.append("--xla_backend_optimization_level=0")
    os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ.get("XLA_FLAGS", "")])


def _keep_freed_memory() -> None:
    """Stops glibc from giving large blocks back to the kernel.

    XLA's CPU backend allocates its temporary buffers anew at every call, and fetching
    them page by page can take longer than computing. Does nothing without glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, 2**30)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _keep_compiled_programs() -> None:
    """Lets a later start find what this one compiled.

    JAX_COMPILATION_CACHE_DIR names another place.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "compad_jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def plain_compile_options(**more: Any) -> dict[str, Any]:
    """Compiler options for a program of many simple loops: on a CPU it compiles much sooner.

    They do without XLA's fusion emitters. How much faster these make a program depends on it.

    Args:
        more: options beside these, for a CPU only.
    """
    if jax.default_backend() != "cpu":
        return {}
    return {"xla_cpu_use_fusion_emitters": False, **more}


def quick_compile_options() -> dict[str, Any]:
    """Compiler options for a program that runs once: it compiles sooner and runs slower."""
    return plain_compile_options(xla_backend_optimization_level=0)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keeps the collector from running: for code that makes a million objects to keep.

    Tracing a program is such code, and it takes longer if they are searched again and again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()  # Nor are they searched later.


def describe_hardware() -> str:
    """One line on the devices and the processor."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind}, {_processor()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        return f"{len(models)} x {models[0]}"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def describe_instruction_sets() -> str:
    """What the processor can do, where the system tells: machines of one name may differ."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return ""


def describe_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return versions | {"python": platform.python_version()}


def describe_commit() -> str | None:
    """The commit of the checkout, `+changes` added if it is not clean; None outside one."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        dirty = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+changes" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return None


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
        """Writes the phases, the peak memory and where they were measured, as JSON."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        facts = {
            "seconds": {name: round(s, 1) for name, s in self.seconds.items()},
            "total_seconds": round(time.monotonic() - self._begin, 1),
            "peak_memory_gib": round(peak, 2),
            "hardware": describe_hardware(),
            "versions": describe_versions(),
            "commit": describe_commit(),
        }
        with open(path, "w", encoding="utf-8") as file:
            json.dump(facts, file, indent=2)
            file.write("\n")
