"""A training on more histories than memory should hold, against one whose histories are in memory.

    python -m benchmarks.streaming --json results/bench/streaming.json [--streams 64]

Both are configs/dark_key_to_door.py on all 6,561 tasks: streamed, with `--streams` histories of
each, and in memory, with one. They take turns. Collecting what is streamed takes minutes, once,
and some gigabytes of disk.
"""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

from compad_jax.backend import files, provenance
from compad_jax.training.metrics_log import read_metrics

_NUM_TASKS, _NUM_STEPS, _TRAINED = 6561, 1000, 100
_BYTES_A_STEP = 20  # As stored, before compression: see `manifest.json`.
_SETTINGS = (
    f"env.num_tasks={_NUM_TASKS}",
    "env.train_env_ratio=0.95",
    f"source.num_steps={_NUM_STEPS}",
    f"train.train_timesteps={_TRAINED}",
    "train.log_every=10",
    f"train.eval_every={_TRAINED}",
    f"train.checkpoint_every={_TRAINED}",
    "train.eval_batches=1",
    "eval.num_seeds=1",
    "eval.num_episodes=1",
    "eval.split=validation",
)


def measure(workdir: str, num_streams: int, *, streamed: bool) -> dict[str, Any]:
    """Trains in a process of its own.

    Args:
        workdir: run directory, new.
        num_streams: histories of a task.
        streamed: whether they stay in their store.

    Returns:
        Size of the store, supervised tokens a second, and the largest memory of the process.
    """
    settings = (*_SETTINGS, f"source.num_streams={num_streams}", f"data.streamed={streamed}")
    command = [sys.executable, "train_main.py", "--config", "configs/dark_key_to_door.py"]
    command += [f"--config.{setting}" for setting in settings]
    subprocess.run([*command, "--workdir", workdir], check=True)
    rates = [row["tokens_per_second"] for row in read_metrics(workdir)][2:-1]
    with open(os.path.join(workdir, "timing.json"), encoding="utf-8") as file:
        timing = json.load(file)
    num_steps = _NUM_TASKS * num_streams * _NUM_STEPS
    return {
        "streamed": streamed,
        "steps": num_steps,
        "gigabytes": num_steps * _BYTES_A_STEP / 1e9,
        "tokens_per_second": [float(x) for x in rates],
        "peak_memory_gib": timing["peak_memory_gib"],
    }


def main() -> None:
    """Measures in turns, prints the ratio and writes what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming")
    parser.add_argument("--json", required=True)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--turns", type=int, default=2)
    arguments = parser.parse_args()
    kinds = {"memory": (1, False), "streamed": (arguments.streams, True)}
    runs = []
    for turn in range(arguments.turns):
        for name, (num_streams, streamed) in kinds.items():
            workdir = f"runs/streaming/{name}-{turn}"
            runs.append(measure(workdir, num_streams, streamed=streamed))
    ratio = _median_rate(runs, streamed=True) / _median_rate(runs, streamed=False)
    origin = {"commit": provenance.describe_commit(), "hardware": provenance.describe_hardware()}
    files.write_json(arguments.json, {"ratio": ratio, "runs": runs, **origin})
    print(f"streamed: {ratio:.3f} of the rate from memory")


def _median_rate(runs: list[dict[str, Any]], *, streamed: bool) -> float:
    rates = [x["tokens_per_second"] for x in runs if x["streamed"] is streamed]
    return float(np.median(np.concatenate(rates)))


if __name__ == "__main__":
    main()
