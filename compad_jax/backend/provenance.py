"""Where a result comes from: hardware, versions, commit."""

import importlib.metadata
import os
import platform
import subprocess

import jax


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


def describe_versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return versions | {"python": platform.python_version()}


def describe_commit(path: str = __file__) -> str | None:
    """The commit of the checkout that a file belongs to, `+changes` added if it is not clean.

    None where no repository tracks the file: an installed package may lie inside the folder
    of somebody else's repository.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", os.path.dirname(path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", path)
        dirty = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+changes" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return None
