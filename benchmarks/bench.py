"""The benchmark: rates of training, acting and collecting, as shares of what the machine can do.

    python -m benchmarks.bench --suite all --json results/bench/cpu.json
    python -m benchmarks.bench --suite train --against results/bench/cpu.json
    python -m benchmarks.bench --report results/bench/cpu.json

The second line exits with 1 where a share fell; the third prints what was measured. A suite
compiles everything anew and takes minutes.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax

from benchmarks.bench_ceilings import Ceilings
from benchmarks.bench_compare import TOLERANCE, compare, comparison_table, remarks
from benchmarks.bench_figure import save_sweeps
from benchmarks.bench_measure import Facts, peak_memory
from benchmarks.bench_report import summary
from benchmarks.bench_results import FORMAT, read_results, write_results
from benchmarks.bench_startup import bench_startup
from benchmarks.bench_suites import (
    Outcome,
    Scale,
    bench_act,
    bench_collect,
    bench_train,
    finish,
)
from benchmarks.bench_sweeps import Axis, act_axes, run_sweeps, train_axes
from compad_jax.backend import process, provenance
from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import load_config, one_line_errors

_Bench = Callable[[Config, Scale, Ceilings], dict[str, Outcome]]
_SUITES: dict[str, tuple[_Bench, Callable[[Config], tuple[Axis, ...]]]] = {
    "train": (bench_train, train_axes),
    "act": (bench_act, act_axes),
    "collect": (bench_collect, lambda _: ()),
}


def run_suite(name: str, path: str, scale: Scale = Scale()) -> Facts:  # noqa: B008 - immutable.
    """Measures one suite in this process.

    Args:
        name: of the suite.
        path: of the config file.
        scale: how much is measured.

    Returns:
        Results: where and of what they are, and under `suites` the ceilings, measurements,
        sweeps, peak memory and seconds of this suite.
    """
    start = time.perf_counter()
    config = load_config(path)
    bench, axes_of = _SUITES[name]
    ceilings = scale.make_ceilings(config)
    outcomes = bench(config, scale, ceilings)
    sweeps = run_sweeps(config, axes_of(config)) if scale.sweeps else {}
    ceilings.sample()
    part = {
        "ceilings": ceilings.facts(),
        "measurements": finish(outcomes, ceilings),
        "sweeps": sweeps,
        "peak_memory": peak_memory(),
        "seconds": time.perf_counter() - start,
    }
    return {"format": FORMAT, "config": path} | _place(config) | {"suites": {name: part}}


def _place(config: Config) -> Facts:
    return {
        "hardware": provenance.describe_hardware(),
        "host": f"{platform.system()} {platform.machine()}, backend {jax.default_backend()}",
        "versions": provenance.describe_versions(),
        "commit": provenance.describe_commit(),
        "settings": to_dict(config),
    }


def run_all(path: str) -> Facts:
    """Measures every suite in a process of its own, for its own peak memory, and start-up."""
    results: Facts = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in _SUITES:
            file = os.path.join(directory, "part.json")
            command = [sys.executable, "-m", "benchmarks.bench", "--suite", name]
            if subprocess.run([*command, "--config", path, "--json", file], check=False).returncode:
                raise ConfigError(f"--suite {name}: did not finish; its message is above")
            part = read_results(file)
            results = part | {"suites": results.get("suites", {}) | part["suites"]}
    return results | {"startup": bench_startup(path)}


def _measure(suite: str, path: str) -> Facts:
    """Sets the process up, as the programs do, and measures."""
    config = load_config(path)
    if suite == "all":
        return run_all(path)
    with tempfile.TemporaryDirectory() as cache:  # Empty: what is compiled here is timed.
        jax.config.update("jax_compilation_cache_dir", cache)
        settings = config.train
        process.configure(settings.train_batch_size, quick_compile=settings.quick_compile)
        return run_suite(suite, path)


def _prepare(path: str) -> None:
    """Finds out that a file cannot be written before minutes were spent on its content."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise ConfigError(f"--json {path}: {error.strerror}") from error


def _save(results: Facts, path: str) -> None:
    """Writes the results and, beside them, the figure of the sweeps."""
    write_results(results, path)
    sweeps = {name: f for part in results["suites"].values() for name, f in part["sweeps"].items()}
    if sweeps:
        save_sweeps(sweeps, os.path.splitext(path)[0] + ".png")


def _judge(old: Facts, new: Facts, tolerance: float) -> int:
    """Prints the comparison; 1 if a ratio fell."""
    compared = compare(old, new, tolerance)
    print(comparison_table(compared))
    for line in remarks(old, new):
        print(f"note: {line}")
    fallen = sum(c.fell for c in compared)
    print(f"{fallen} of {len(compared)} ratios fell by more than {tolerance:.0%} and their spread")
    return int(fallen > 0)


def main() -> None:
    """Parses the command line, measures or reads, reports, compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", choices=[*_SUITES, "all"], default="all")
    parser.add_argument("--config", default="configs/small.py", help="what to measure")
    parser.add_argument("--json", help="file to write the results to, and a figure beside it")
    parser.add_argument("--against", help="results to compare with; exit code 1 if a ratio fell")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="part of a ratio")
    parser.add_argument("--report", help="results to use instead of measuring")
    arguments = parser.parse_args()
    with one_line_errors():
        old = read_results(arguments.against) if arguments.against else None
        if arguments.report:
            results = read_results(arguments.report)
        else:
            if arguments.json:
                _prepare(arguments.json)
            results = _measure(arguments.suite, arguments.config)
            if arguments.json:
                _save(results, arguments.json)
        print(summary(results))
        code = _judge(old, results, arguments.tolerance) if old else 0
    sys.exit(code)


if __name__ == "__main__":
    main()
