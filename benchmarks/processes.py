"""What a training step costs in several processes on one machine, and agreeing on a stop.

    python -m benchmarks.processes [--number 1 2 4] [--config configs/debug.py]

Each process has one device, whatever their number; the batch is shared. It prints the fastest
and the median dispatch, divided by its steps, and the same with an agreement after each
dispatch, as the training loop has it.
"""

import argparse
import socket
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np

from compad_jax.backend import launch, process, processes, sharding
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config.command_line import load_config
from compad_jax.config.membership import take_membership
from compad_jax.training.setup import Builders, set_up


def measure(config_file: str, repeats: int) -> None:
    """Prints milliseconds a step; in each of the processes, of which the first is heard."""
    config = load_config(config_file)
    process.configure(config.train.train_batch_size, quick_compile=config.train.quick_compile)
    mesh = sharding.make_mesh()
    setup = set_up(config, mesh, Builders(), Stopwatch())
    agree, state = processes.Agreement(mesh), setup.first_state
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for i in range(2 * repeats + 2):
        begin = time.monotonic()
        state, metrics = setup.train_steps(state, setup.datasets["train"], setup.keys.steps)
        if i % 2:
            agree(0)
        jax.block_until_ready(metrics)
        seconds[bool(i % 2)].append(time.monotonic() - begin)
    for agrees, values in seconds.items():
        steps = np.array(values[1:]) / config.train.log_every * 1000
        what = "with an agreement" if agrees else "steps alone"
        numbers = f"fastest {steps.min():.2f}, median {np.median(steps):.2f} ms a step"
        print(f"{processes.count()} processes, {what}: {numbers}", flush=True)


def start(number: int, arguments: Any) -> None:
    """Starts so many processes of this module and waits for them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "benchmarks.processes", "--config", arguments.config]
    command += [f"--repeats={arguments.repeats}", "--run"]
    flags = [place, f"--num_processes={number}"]
    own = [[*flags, f"--process_id={i}"] if number > 1 else [] for i in range(number)]
    running = [subprocess.Popen([*command, *each]) for each in own]
    for each in running:
        each.wait(timeout=600)


def main() -> None:
    """Starts the processes one number after another, or is one of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--config", default="configs/debug.py")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--run", action="store_true")
    membership, rest = take_membership(sys.argv[1:])
    arguments = parser.parse_args(rest)
    if arguments.run:
        launch.join(membership)
        launch.end_together(lambda: measure(arguments.config, arguments.repeats))
        return
    for number in arguments.number:
        start(number, arguments)


if __name__ == "__main__":
    main()
