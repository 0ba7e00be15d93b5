"""Start-up: from the start of a process to the end of its first training step, cold and warm.

Run as a program, it is that process: `python -m benchmarks.startup FILE DIR`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

import jax

from benchmarks.measure import Facts, share, spread
from benchmarks.suites import prepare_training, steps_a_call, vary
from compad_jax.backend import process
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config import Config
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import load_config

# What no program avoids.
_BARE = """
import json, time, jax
jax.block_until_ready(jax.numpy.zeros(()) + 1)
print(json.dumps({"done": time.time()}))
"""
KINDS = ("bare", "cold", "warm")  # The last one finds what the one before left.


def bench_startup(path: str, num_starts: int = 3) -> Facts:
    """Starts processes that import JAX alone, that find nothing, and that find all there is.

    Args:
        path: of the config file.
        num_starts: of each kind, in turn.

    Returns:
        Seconds and phases of each of `KINDS`, and the share that a bare start takes of the
        others.
    """
    command = [sys.executable, "-m", "benchmarks.startup", path]
    starts: dict[str, list[tuple[float, Facts]]] = {kind: [] for kind in KINDS}
    for _ in range(num_starts):
        with tempfile.TemporaryDirectory() as directory:
            starts["bare"].append(_start([sys.executable, "-c", _BARE], directory))
            for kind in ("cold", "warm"):
                starts[kind].append(_start([*command, directory], directory))
    took = {kind: spread([seconds for seconds, _ in some]) for kind, some in starts.items()}
    facts: Facts = {}
    for kind, some in starts.items():
        phases = sorted(some, key=lambda start: start[0])[num_starts // 2][1]
        facts[kind] = took[kind]._asdict() | {"phases": phases}
        if kind != "bare":
            facts[f"bare_share_of_{kind}"] = share(took["bare"], took[kind])._asdict()
    return facts


def _start(command: list[str], directory: str) -> tuple[float, Facts]:
    """Seconds until the first step of a process was done, and seconds of its phases."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": os.path.join(directory, "cache")}
    begin = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"start-up: {(done.stderr.splitlines() or ['no message'])[-1]}")
    phases = json.loads(done.stdout.splitlines()[-1])
    return phases.pop("done") - begin, phases


def first_step(config: Config) -> dict[str, float]:
    """Does what a training does until its first step is done.

    Args:
        config: all settings; histories are collected where `data.dir` has none.

    Returns:
        Seconds of each phase.
    """
    stopwatch = Stopwatch()
    setup = prepare_training(config, stopwatch)
    with stopwatch.phase("step"):
        key = jax.random.key(config.train.seed)
        jax.block_until_ready(setup.train_steps(setup.first_state, setup.data.train(0), key))
    return stopwatch.seconds


def main() -> None:
    """The process that is timed: prints the seconds of its phases as JSON."""
    path, directory = sys.argv[1:]
    histories = {"dir": os.path.join(directory, "histories")}
    config = vary(steps_a_call(load_config(path), 1), data=histories)
    process.configure(config.train.train_batch_size, quick_compile=config.train.quick_compile)
    print(json.dumps(first_step(config) | {"done": time.time()}))


if __name__ == "__main__":
    main()
