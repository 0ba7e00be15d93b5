"""What each trick for CPUs is worth: the training step with it and without it.

    python -m benchmarks.tricks --config configs/small.py --json results/cpu_tricks.json
    python -m benchmarks.tricks --against ../other_checkout --json results/against.json

Every variant trains in a process of its own; the processes take turns, so that all see the same
minutes of the machine. `step` is the time of a step without the trick over that with it, `start`
the same of the seconds until the first step, compiled without a cache. Read the first for what a
trick gains in training, the second for what it costs or gains before. The second command compares
this checkout as a whole with another one that has this program, in the same way.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

ALL = "all tricks"
_STEPS_A_CALL = 10


def _replace(module: Any, name: str, value: Any) -> None:
    """Replaces what a module has under a name; a name that is gone would measure nothing."""
    if not hasattr(module, name):
        raise AttributeError(f"{module.__name__} has no {name}: mend the trick that replaces it")
    vars(module)[name] = value


def _plain_products() -> None:
    import flax.linen as nn

    from compad_jax.models import policy, reconstruction, transformer
    from compad_jax.models.memory import compressor

    for module in (policy, reconstruction, transformer, compressor):
        _replace(module, "Linear", nn.Dense)


def _decode_at_once() -> None:
    from compad_jax.training import objective

    _replace(objective, "unroll_loss", partial(objective.unroll_loss, all_at_once=True))


def _unroll_loops() -> None:
    from compad_jax.backend import process

    _replace(process, "_choose_compiler_flags", lambda quick_compile: None)


def _one_device() -> None:
    os.environ["JAX_NUM_CPU_DEVICES"] = "1"


def _compile_in_full() -> None:
    from compad_jax.backend import process

    _replace(process, "plain_compile_options", lambda **more: {})


# What takes each trick away.
TRICKS: dict[str, Callable[[], None]] = {
    "products of flat matrices": _plain_products,
    "segments differentiated one by one": _decode_at_once,
    "one device a core": _one_device,
    "loops not unrolled": _unroll_loops,
    "small programs compiled quickly": _compile_in_full,
}


def serve(trick: str, path: str, data: str) -> None:
    """Trains without a trick; a line on the standard input asks for some steps more."""
    if trick != ALL:
        TRICKS[trick]()
    import jax

    from compad_jax.backend import process, sharding
    from compad_jax.backend.stopwatch import Stopwatch
    from compad_jax.config.command_line import load_config
    from compad_jax.training.setup import Builders, set_up

    begin = time.monotonic()
    steps = f"train.log_every={_STEPS_A_CALL}"
    every = [f"train.{name}=6000" for name in ("train_timesteps", "eval_every", "checkpoint_every")]
    config = load_config(path, [steps, *every, f"data.dir={data}"])
    process.configure(config.train.train_batch_size)
    setup = set_up(config, sharding.make_mesh(), Builders(), Stopwatch())

    def call(state: Any) -> Any:
        state, metrics = setup.train_steps(state, setup.datasets["train"], setup.keys.steps)
        jax.block_until_ready(metrics)
        return state

    state = call(setup.first_state)
    print(f"ready {time.monotonic() - begin}", flush=True)
    for _ in sys.stdin:
        start = time.monotonic()
        state = call(state)
        print(f"took {(time.monotonic() - start) / _STEPS_A_CALL}", flush=True)


class _Variant:
    """A process that trains without one trick, in this checkout or another."""

    def __init__(self, trick: str, path: str, data: str, cache: str, checkout: str = ".") -> None:
        command = [sys.executable, "-m", "benchmarks.tricks", "--serve", trick]
        self._process = subprocess.Popen(
            [*command, "--config", path, "--data", data],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
        )
        self.start_seconds, self.step_seconds = self._read("ready"), list[float]()

    def measure(self) -> None:
        """Takes some steps and notes the seconds of one."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.step_seconds.append(self._read("took"))

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _read(self, word: str) -> float:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith(word):
                return float(line.split()[1])
        raise RuntimeError("a variant ended early; see its errors above")


def measure(path: str, rounds: int) -> dict[str, Any]:
    """Measures all tricks.

    Args:
        path: config file.
        rounds: how often each variant takes its steps.

    Returns:
        What is written as JSON: hardware, versions, commit, and a row a trick.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "histories")
        new = lambda trick: _Variant(trick, path, data, tempfile.mkdtemp(dir=folder))  # noqa: E731
        new(ALL).close()  # Collects the histories, once for all.
        variants = {trick: new(trick) for trick in (ALL, *TRICKS)}
        _take_turns(list(variants.values()), rounds)
    base = variants[ALL]
    return _facts(path, base) | {"tricks": [_row(trick, base, variants[trick]) for trick in TRICKS]}


def measure_against(checkout: str, path: str, rounds: int) -> dict[str, Any]:
    """Measures this checkout against another: arguments and result as in `measure`."""
    with tempfile.TemporaryDirectory() as folder:

        def new(place: str) -> _Variant:
            apart = [tempfile.mkdtemp(dir=folder) for _ in range(2)]
            return _Variant(ALL, path, os.path.join(apart[0], "histories"), apart[1], place)

        here, there = new("."), new(checkout)
        _take_turns([here, there], rounds)
    from compad_jax.backend import provenance

    commit = provenance.describe_commit(os.path.join(checkout, "train_main.py"))
    return _facts(path, here) | {"against": _row(str(commit), here, there)}


def _take_turns(variants: list[_Variant], rounds: int) -> None:
    """Measures all of them, in turn, and ends their processes."""
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else variants[::-1]:
            variant.measure()
    for variant in variants:
        variant.close()


def _facts(path: str, base: _Variant) -> dict[str, Any]:
    """Where it was measured, and what the others are compared with."""
    from compad_jax.backend import provenance  # Not before a served trick has set JAX up.

    return {
        "config": path,
        "hardware": provenance.describe_hardware(),
        "versions": provenance.describe_versions(),
        "commit": provenance.describe_commit(),
        "step_seconds": statistics.median(base.step_seconds),
        "start_seconds": base.start_seconds,
    }


def _row(trick: str, base: _Variant, variant: _Variant) -> dict[str, Any]:
    pairs = zip(variant.step_seconds, base.step_seconds, strict=True)
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    start = variant.start_seconds / base.start_seconds
    return {"trick": trick, "step": middle, "quartiles": [low, high], "start": start}


def tricks_table(facts: dict[str, Any]) -> str:
    """What `measure` found, as a table in Markdown and a line on where."""
    lines = ["| trick | a step without it | a start without it |", "| --- | --- | --- |"]
    for row in facts["tricks"]:
        low, high = row["quartiles"]
        step = f"{row['step']:.2f} [{low:.2f}, {high:.2f}]"
        lines.append(f"| {row['trick']} | {step} | {row['start']:.2f} |")
    place = (
        f"{facts['config']}, a step of {facts['step_seconds']:.3f} s, a start of "
        f"{facts['start_seconds']:.0f} s; medians and quartiles; "
        f"commit {facts['commit']}; {facts['hardware']}; jax {facts['versions']['jax']}."
    )
    return "\n".join([*lines, "", place])


def main() -> None:
    """Reads the command line, measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/small.py")
    parser.add_argument("--json", default="results/cpu_tricks.json", help="where to write")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--against", metavar="CHECKOUT", help="compare with it instead")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.config, arguments.data)
        return
    if arguments.against:
        facts = measure_against(arguments.against, arguments.config, arguments.rounds)
    else:
        facts = measure(arguments.config, arguments.rounds)
    with open(arguments.json, "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=2)
        file.write("\n")
    for row in facts["tricks"] if "tricks" in facts else [facts["against"]]:
        print(f"{row['trick']:<44} step x {row['step']:.3f}  start x {row['start']:.2f}")


if __name__ == "__main__":
    main()
