"""Start-up: from the start of a process to its first training step, cold and warm.

Run as a program, it is that process: `python -m compad_jax.tools.bench_startup FILE DIR`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

_BEGIN = time.perf_counter()  # Before the slow imports below.

import jax  # noqa: E402

from compad_jax import runtime, sharding  # noqa: E402
from compad_jax.checks import ConfigError  # noqa: E402
from compad_jax.command_line import load_config  # noqa: E402
from compad_jax.config import Config  # noqa: E402
from compad_jax.tools.bench_measure import Facts, Spread, share, spread  # noqa: E402
from compad_jax.tools.bench_programs import steps_a_call, vary  # noqa: E402
from compad_jax.train import Parts, prepare  # noqa: E402

_BARE = "import jax; jax.block_until_ready(jax.numpy.zeros(()) + 1)"  # What no program avoids.
_WARM_STARTS = 2


def first_step(config: Config) -> dict[str, float]:
    """Does what a training does until its first step is done.

    Args:
        config: all settings; histories are collected where `data.dir` has none.

    Returns:
        Seconds of each phase.
    """
    stopwatch = runtime.Stopwatch()
    ready = prepare(config, sharding.make_mesh(), Parts(), stopwatch)
    with stopwatch.phase("step"):
        key = jax.random.key(config.train.seed)
        jax.block_until_ready(ready.train_steps(ready.state, ready.datasets["train"], key))
    return stopwatch.seconds


def bench_startup(path: str) -> Facts:
    """Starts processes: one with nothing to build on, then some that find all of it.

    Args:
        path: of the config file.

    Returns:
        Seconds and phases of each, `bare` (importing JAX and one operation), the speed-up
        of a warm start, and the share of both that a bare start takes.
    """
    with tempfile.TemporaryDirectory() as directory:
        bare = spread([_seconds([sys.executable, "-c", _BARE], directory)[0] for _ in range(3)])
        command = [sys.executable, "-m", __spec__.name, path, directory]
        cold, cold_phases = _seconds(command, directory)
        warm = [_seconds(command, directory) for _ in range(_WARM_STARTS)]
    warm_spread = spread([seconds for seconds, _ in warm])
    cold_spread = Spread(cold, cold, cold)
    return {
        "bare": bare._asdict(),
        "cold": cold_spread._asdict() | {"phases": json.loads(cold_phases)},
        "warm": warm_spread._asdict() | {"phases": json.loads(warm[-1][1])},
        "warm_speed_up": share(cold_spread, warm_spread)._asdict(),
        "bare_share_of_cold": share(bare, cold_spread)._asdict(),
        "bare_share_of_warm": share(bare, warm_spread)._asdict(),
    }


def _seconds(command: list[str], directory: str) -> tuple[float, str]:
    """Runs a process with its own cache; how long it took and its last line."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": os.path.join(directory, "cache")}
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise ConfigError(f"start-up: {(done.stderr.splitlines() or ['no message'])[-1]}")
    return seconds, (done.stdout.splitlines() or ["{}"])[-1]


def main() -> None:
    """The process that is timed: prints the seconds of its phases as JSON."""
    path, directory = sys.argv[1:]
    config = steps_a_call(load_config(path), 1)
    config = vary(config, data__dir=os.path.join(directory, "histories"))
    imported = time.perf_counter() - _BEGIN
    runtime.configure(config.train.train_batch_size, quick_compile=config.train.quick_compile)
    print(json.dumps({"imports": imported} | first_step(config)))


if __name__ == "__main__":
    main()
