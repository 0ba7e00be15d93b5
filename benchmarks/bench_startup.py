"""Start-up: from the start of a process to its first training step, cold, recompiled and warm.

Run as a program, it is that process: `python -m benchmarks.bench_startup FILE DIR`.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import jax

from benchmarks.bench_measure import Facts, share, spread
from benchmarks.bench_programs import steps_a_call, vary
from compad_jax.backend import process, sharding
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config import Config
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import load_config
from compad_jax.training.setup import Builders, set_up

# What no program avoids.
_BARE = """
import json, time, jax
jax.block_until_ready(jax.numpy.zeros(()) + 1)
print(json.dumps({"done": time.time()}))
"""
_KINDS = ("cold", "recompiled", "warm")  # Each builds on what the one before left.
_CACHE = "cache"
_STARTS = 3  # Of each kind, in turn.


def first_step(config: Config) -> dict[str, float]:
    """Does what a training does until its first step is done.

    Args:
        config: all settings; histories are collected where `data.dir` has none.

    Returns:
        Seconds of each phase.
    """
    stopwatch = Stopwatch()
    setup = set_up(config, sharding.make_mesh(), Builders(), stopwatch)
    with stopwatch.phase("step"):
        key = jax.random.key(config.train.seed)
        jax.block_until_ready(setup.train_steps(setup.first_state, setup.datasets["train"], key))
    return stopwatch.seconds


class _Start(NamedTuple):
    """What one process took until its first step was done."""

    seconds: float
    cpu_seconds: float  # Of all cores; to its end.
    phases: dict[str, float]  # Seconds; some run side by side.


def bench_startup(path: str) -> Facts:
    """Starts processes: with nothing to build on, with histories alone, and with all there is.

    Args:
        path: of the config file.

    Returns:
        Seconds and phases of each kind: `bare` (importing JAX and one operation), `cold`
        (nothing is there), `recompiled` (histories are) and `warm` (compiled programs are, too);
        the speed-up of a warm start over a cold one, and the share that a bare start takes.
    """
    command = [sys.executable, "-m", __spec__.name, path]
    starts: dict[str, list[_Start]] = {kind: [] for kind in ("bare", *_KINDS)}
    for _ in range(_STARTS):
        with tempfile.TemporaryDirectory() as directory:
            starts["bare"].append(_start([sys.executable, "-c", _BARE], directory))
            for kind in _KINDS:
                if kind == "recompiled":
                    shutil.rmtree(os.path.join(directory, _CACHE))
                starts[kind].append(_start([*command, directory], directory))
    took = {kind: spread([start.seconds for start in some]) for kind, some in starts.items()}
    facts: Facts = {}
    for kind, some in starts.items():
        middle = sorted(some)[_STARTS // 2]
        shown = {"cpu_seconds": middle.cpu_seconds, "phases": middle.phases}
        facts[kind] = took[kind]._asdict() | shown
    return facts | {
        "warm_speed_up": share(took["cold"], took["warm"])._asdict(),
        **{f"bare_share_of_{k}": share(took["bare"], took[k])._asdict() for k in _KINDS},
    }


def _start(command: list[str], directory: str) -> _Start:
    """Runs a process with its own cache, which prints when it was done, and its phases."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": os.path.join(directory, _CACHE)}
    before, begin = _cpu_seconds(), time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"start-up: {(done.stderr.splitlines() or ['no message'])[-1]}")
    phases = json.loads(done.stdout.splitlines()[-1])
    return _Start(phases.pop("done") - begin, _cpu_seconds() - before, phases)


def _cpu_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """The process that is timed: prints the seconds of its phases as JSON."""
    path, directory = sys.argv[1:]
    config = steps_a_call(load_config(path), 1)
    config = vary(config, data__dir=os.path.join(directory, "histories"))
    process.configure(config.train.train_batch_size, quick_compile=config.train.quick_compile)
    print(json.dumps(first_step(config) | {"done": time.time()}))


if __name__ == "__main__":
    main()
