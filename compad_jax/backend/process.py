"""What a program sets up once for its process, before it computes."""

import functools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from compad_jax.backend import processes
from compad_jax.config.checks import ConfigError

# What a user's environment must not change: the same seed means the same numbers everywhere.
_RESULTS_DEPEND_ON = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
}


def configure(batch_size: int, *, quick_compile: bool = False) -> None:
    """Sets the process up; call it before anything runs on a device.

    A CPU counts as one device a core, as far as a batch can be shared out evenly: the
    matrices of a small model are too small for several cores to share, whole windows are
    not. Accelerators are not affected; a number of devices that the user set counts more.

    Args:
        batch_size: windows of a training batch.
        quick_compile: see `TrainConfig`.
    """
    _choose_compiler_flags(quick_compile)
    _keep_compiled_programs()
    for name, value in _RESULTS_DEPEND_ON.items():
        jax.config.update(name, value)
    if not _user_chose_devices():
        cores, share = available_cpus(), batch_size // processes.count()
        shares = max(n for n in range(1, cores + 1) if share % n == 0)
        jax.config.update("jax_num_cpu_devices", shares)
    if processes.count() > 1:
        jax.devices()  # Each waits here until all others start theirs.


def require_devices() -> None:
    """Starts the devices; raises a ConfigError if the user's choice of them cannot be had."""
    try:
        jax.devices()
    except RuntimeError as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        reason = " ".join(str(error).split())
        raise ConfigError(f"JAX_PLATFORMS={platforms}: no such device ({reason})") from error


def _user_chose_devices() -> bool:
    """By a flag of XLA's, or by JAX_NUM_CPU_DEVICES or its config option."""
    flag = "--xla_force_host_platform_device_count"
    return flag in os.environ.get("XLA_FLAGS", "") or jax.config.values["jax_num_cpu_devices"] > 0


def available_cpus() -> int:
    """Cores that this process may use: its affinity, and its container's quota, rounded down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min([cores, *map(int, _cpu_quotas())]))


def _cpu_quotas(proc: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> Iterator[float]:
    """Cores that each control group around this process allows; none without a quota."""
    for line in _words(proc, separator="\n"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for group in (pathlib.PurePath(path), *pathlib.PurePath(path).parents):
            folder = os.path.join(root, "cpu" if controllers else "", str(group).strip("/"))
            if controllers:  # Version 1.
                names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                numbers = [word for name in names for word in _words(os.path.join(folder, name))]
            else:
                numbers = _words(os.path.join(folder, "cpu.max"))
            if len(numbers) == 2 and numbers[0] not in ("max", "-1"):
                yield int(numbers[0]) / int(numbers[1])


def _words(path: str, separator: str | None = None) -> list[str]:
    """What a small file says; nothing, if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip().split(separator)
    except OSError:
        return []


def _choose_compiler_flags(quick_compile: bool) -> None:
    """Trades speed for compile time, as far as asked; flags that the user set count more.

    Unrolled loops keep the compiler busy and make no training step faster.
    """
    flags = ["--xla_backend_extra_options=xla_cpu_disable_loop_unrolling=true"]
    if quick_compile:
        flags.append("--xla_backend_optimization_level=0")
    os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ.get("XLA_FLAGS", "")])


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
    `more` are options beside these, for a CPU only.
    """
    if jax.default_backend() != "cpu":
        return {}
    wanted = {"xla_cpu_use_fusion_emitters": False, **more}
    return {name: value for name, value in wanted.items() if _is_known(name, value)}


@functools.cache
def _is_known(option: str, value: Any) -> bool:
    """Whether this version of the compiler has an option; some are dropped from one to the next."""
    try:
        jax.jit(lambda: 0, compiler_options={option: value}).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return False
    return True


def quick_compile_options() -> dict[str, Any]:
    """Compiler options for a program that runs once: it compiles sooner and runs slower."""
    return plain_compile_options(xla_backend_optimization_level=0)
