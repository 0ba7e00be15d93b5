"""Breaks the code in known ways, one at a time, and checks that the tests notice.

    python tests/mutate.py [WORD ...]

Each mutation replaces a piece of one file in a copy of the checkout and runs the tests named
beside it. It survives if they all pass; the script then ends with exit code 1. With words, only
mutations whose name holds one of them are tried. `results/mutations.md` has a row for each that
was ever tried: what became of it the last time.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from mutations import MUTATIONS, Mutation

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_COPIED = ("compad_jax", "configs", "experiments", "benchmarks", "tests", "docs", "results")
_TABLE = _ROOT / "results" / "mutations.md"
_TIMEOUT = 600  # Seconds; a mutant that hangs is noticed, too.


class Outcome(NamedTuple):
    """What became of a mutant."""

    mutation: Mutation
    killed_by: str  # The first test that failed; empty if it survived.
    seconds: float


def try_mutation(mutation: Mutation) -> Outcome:
    """Runs the mutation's tests on a mutated copy of the checkout."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        for name in _COPIED:
            shutil.copytree(_ROOT / name, copy / name)
        for path in [*_ROOT.glob("*.py"), *_ROOT.glob("*.toml"), *_ROOT.glob("*.md")]:
            shutil.copy(path, copy)
        _mutate(copy / mutation.file, mutation)
        killed_by = _first_failure(copy, mutation.tests)
    return Outcome(mutation, killed_by, time.monotonic() - begin)


def _mutate(path: pathlib.Path, mutation: Mutation) -> None:
    """Replaces the piece, which must stand in the file exactly once."""
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        sys.exit(f"{mutation.file}: holds {mutation.old!r} {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def _first_failure(folder: pathlib.Path, tests: tuple[str, ...]) -> str:
    """The name of the first test that fails in a folder; empty if none does."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *tests], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return f"no end within {_TIMEOUT} s"
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode != 1 or not failed:
        sys.exit(
            f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return failed[1]


def main() -> None:
    """Tries the mutations and prints a line each."""
    words = sys.argv[1:]
    chosen = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    outcomes = []
    for mutation in chosen:
        outcome = try_mutation(mutation)
        outcomes.append(outcome)
        print(
            f"{outcome.seconds:4.0f} s  {mutation.name}: {outcome.killed_by or 'SURVIVED'}",
            flush=True,
        )
    _TABLE.write_text(_table(outcomes), encoding="utf-8")
    sys.exit(any(not outcome.killed_by for outcome in outcomes))


def _table(outcomes: list[Outcome]) -> str:
    """The rows of these and, of mutations that were not tried now, those that are there."""
    text = _TABLE.read_text(encoding="utf-8") if _TABLE.exists() else ""
    rows = {line.split(" | ")[0]: line for line in text.splitlines()}
    for mutation, killed_by, _ in outcomes:
        verdict = f"`{killed_by}`" if killed_by else "SURVIVED"
        rows[f"| {mutation.name}"] = f"| {mutation.name} | `{mutation.file}` | {verdict} |"
    known = [rows[f"| {m.name}"] for m in MUTATIONS if f"| {m.name}" in rows]
    head = ["Made by `python tests/mutate.py`.", "", "| mutation | file | killed by |"]
    return "\n".join([*head, "| --- | --- | --- |", *known, ""])


if __name__ == "__main__":
    main()
