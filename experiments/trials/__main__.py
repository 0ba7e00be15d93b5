"""Runs the trials and writes what became of them.

    python -m experiments.trials [--kinds kill plant ...] [--seed 0]

A line a trial is added to `results/reliability/trials.jsonl`; those that stand there already are
not run again. `table.md` beside it has a row a kind. Needs Linux, for the full disk.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from compad_jax.backend import provenance
from compad_jax.config.command_line import one_line_errors
from compad_jax.reports.tables import markdown_table
from experiments.trials.company import evaluate_beside, start_together
from experiments.trials.damage import fill_disk, flip_byte, plant
from experiments.trials.kills import kill, kill_one_of_two
from experiments.trials.mistakes import lost_owner, mistake
from experiments.trials.programs import SAVE_EVERY, Bench
from experiments.trials.trial import Trial

# (where it takes place, its random numbers, its number among its kind) -> what became of it
RunTrial = Callable[[Bench, np.random.Generator, int], Trial]
KINDS: dict[str, tuple[RunTrial, int]] = {
    "kill": (kill, 104),
    "plant": (plant, 36),
    "flip": (flip_byte, 40),
    "full_disk": (fill_disk, 20),
    "together": (start_together, 10),
    "evaluate": (evaluate_beside, 4),
    "mistake": (mistake, 40),
    "lost_owner": (lost_owner, 4),
    "pair": (kill_one_of_two, 16),
}
_RESULTS = "results/reliability"


def main() -> None:
    """Runs the trials that were not run yet."""
    parser = argparse.ArgumentParser(prog="python -m experiments.trials")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=10**6, help="trials of a kind")
    arguments = parser.parse_args()
    os.makedirs(_RESULTS, exist_ok=True)
    path = Path(_RESULTS, "trials.jsonl")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for place, name in enumerate(KINDS):
            run_trial, count = KINDS[name]
            for number in range(min(count, arguments.most) if name in arguments.kinds else 0):
                if (name, number) in {(line["trial"], line["number"]) for line in read(path)}:
                    continue
                rng = np.random.default_rng([arguments.seed, place, number])
                outcome = run_trial(bench, rng, number)
                line = {"trial": name, "number": number, **outcome._asdict(), **_origin()}
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print("survived" if outcome.survived else "FAILED  ", *outcome, flush=True)
    Path(_RESULTS, "table.md").write_text(table(read(path)), encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """The trials so far."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def table(lines: list[dict[str, Any]]) -> str:
    """A row a kind of fault."""
    rows = []
    for kind in dict.fromkeys(line["kind"] for line in lines):
        of_kind = [x for x in lines if x["kind"] == kind]
        went_on = [x for x in of_kind if x["ended"].endswith("same result")]
        rows.append(
            {
                "what happened": kind,
                "trials": str(len(of_kind)),
                "survived": str(sum(x["survived"] for x in of_kind)),
                "same result": str(len(went_on)),
                "most steps trained again": str(max(x["lost_steps"] for x in of_kind)),
            }
        )
    where = (dict.fromkeys(str(line[name]) for line in lines) for name in ("commit", "hardware"))
    commits, hardware = map(", ".join, where)
    return (
        f"{markdown_table(rows)}\n\nA checkpoint every {SAVE_EVERY} steps; commits {commits}; "
        f"{hardware}.\n"
    )


def _origin() -> dict[str, Any]:
    return {
        "commit": provenance.describe_commit(),
        "hardware": provenance.describe_hardware(),
        "versions": provenance.describe_versions(),
    }


if __name__ == "__main__":
    with one_line_errors():
        main()
