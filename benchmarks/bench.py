"""Rates of training, acting, collecting and starting, as shares of what the machine can do.

    python -m benchmarks.bench --suite all --json results/bench/cpu.json
    python -m benchmarks.bench --suite train --against results/bench/cpu.json

The second line exits with 1 where a share fell. A suite compiles everything anew and takes a
minute.
"""

import argparse
import os
import platform
import sys
import tempfile

import jax

from benchmarks.measure import Facts
from benchmarks.startup import bench_startup
from benchmarks.suites import SUITES, Scale, run_suite, vary
from benchmarks.tables import (
    BLOCKS,
    FORMAT,
    TOLERANCE,
    compare,
    read_results,
    remarks,
    write_results,
)
from compad_jax.backend import process, provenance
from compad_jax.config import to_dict
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import load_config, one_line_errors
from compad_jax.reports.tables import markdown_table

_STARTUP = "startup"


def measure(suite: str, path: str, scale: Scale = Scale()) -> Facts:  # noqa: B008 - immutable.
    """Measures one suite, or all.

    Args:
        suite: of `SUITES`, "startup", or "all".
        path: of the config file.
        scale: how much is measured.

    Returns:
        Results: of what and where they are, a part a suite, and `startup`.
    """
    config = load_config(path)
    chosen = [*SUITES] if suite == "all" else [suite] if suite in SUITES else []
    starts = bench_startup(path) if suite in ("all", _STARTUP) else {}
    with tempfile.TemporaryDirectory() as directory:
        stored = vary(config, data={"dir": os.path.join(directory, "histories")})
        parts = {name: run_suite(name, stored, scale) for name in chosen}
    return {
        "format": FORMAT,
        "config": path,
        "hardware": provenance.describe_hardware(),
        "host": f"{platform.system()} {platform.machine()}, backend {jax.default_backend()}",
        "versions": provenance.describe_versions(),
        "commit": provenance.describe_commit(),
        "settings": to_dict(config),
        "suites": parts,
    } | ({_STARTUP: starts} if starts else {})


def check_writable(path: str) -> None:
    """Finds out that a file cannot be written before minutes were spent on its content.

    Raises:
        ConfigError: it cannot.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise ConfigError(f"--json {path}: {error.strerror}") from error


def judge(old: Facts, new: Facts) -> int:
    """Prints the comparison; 1 if a ratio fell."""
    rows = compare(old, new)
    print(markdown_table(list(rows.values())))
    for line in remarks(old, new):
        print(f"note: {line}")
    fallen = sum(row[""] == "FELL" for row in rows.values())
    print(f"{fallen} of {len(rows)} ratios fell by more than {TOLERANCE:.0%} and their spread")
    return int(fallen > 0)


def main() -> None:
    """Parses the command line, measures, reports, compares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", choices=[*SUITES, _STARTUP, "all"], default="all")
    parser.add_argument("--config", default="configs/small.py", help="what to measure")
    parser.add_argument("--json", help="file to write the results to")
    parser.add_argument("--against", help="results to compare with; exit code 1 if a ratio fell")
    arguments = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as cache:
        old = read_results(arguments.against) if arguments.against else None
        settings = load_config(arguments.config).train
        if arguments.json:
            check_writable(arguments.json)
        jax.config.update("jax_compilation_cache_dir", cache)  # What is compiled here is timed.
        process.configure(settings.train_batch_size, quick_compile=settings.quick_compile)
        results = measure(arguments.suite, arguments.config)
        if arguments.json:
            write_results(results, arguments.json)
        if results["suites"]:
            print(BLOCKS["summary"](results))
        if _STARTUP in results:
            print(BLOCKS[_STARTUP](results))
        code = judge(old, results) if old else 0
    sys.exit(code)


if __name__ == "__main__":
    main()
