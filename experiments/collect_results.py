"""Collects the evaluations of finished runs into one small results file.

    python -m experiments.collect_results small_splits runs/small runs/small_seed_1
    python -m experiments.collect_results choice runs/small --split validation

It writes `results/NAME/evaluations.json`: a list of the summaries of all evaluations, in the
order of the runs, each with the name of its run. Of the tasks only the worst is kept, so that
the file stays small however many there are.
"""

import argparse
import os
from typing import Any

import numpy as np

from compad_jax.backend.files import write_json
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import one_line_errors
from compad_jax.reports.finished_runs import load_run

Summary = dict[str, Any]
_LONG = 1000  # Episodes.
_LEFT_OUT = ("per_task", "criteria")


def collect(runs: list[str], split: str = "held_out") -> list[Summary]:
    """The summaries of all evaluations of some runs.

    Args:
        runs: run directories, each with finished evaluations.
        split: of the tasks; evaluations of others are left out.

    Returns:
        The contents of each `summary.json` without `per_task` and `criteria`, and with
        `worst_task` and, where it was measured, `timing`; of long lives `fraction_of_tenths`.

    Raises:
        ConfigError: a run has no readable evaluation, or none on this split.
    """
    chosen = [(run, *e) for run in runs for e in load_run(run) if e[0]["split"] == split]
    for run in runs:
        if run not in {row[0] for row in chosen}:
            raise ConfigError(f"{run}: no evaluation on {split} tasks")
    return [
        {key: value for key, value in summary.items() if key not in _LEFT_OUT}
        | {"run": os.path.basename(os.path.normpath(run)), "worst_task": worst_task(summary)}
        | tenths(curve)
        for run, summary, curve in chosen
    ]


def tenths(curve: np.ndarray) -> Summary:
    """Of long lives, the mean share of the optimum in each tenth, as `fraction_of_tenths`."""
    if len(curve) < _LONG or np.isnan(curve["fraction"]).any():
        return {}
    return {"fraction_of_tenths": [float(x.mean()) for x in np.array_split(curve["fraction"], 10)]}


def worst_task(summary: Summary) -> Summary:
    """The task with the lowest share of the optimum at the end, or return where none is known."""

    def score(task: Summary) -> float:
        share = task.get("final_fraction_of_optimum")
        return task["mean_return"] if share is None else share

    return summary["worst_task"] if "worst_task" in summary else min(summary["per_task"], key=score)


def main() -> None:
    """Parses the command line and writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="the file is results/NAME/evaluations.json")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories")
    parser.add_argument("--split", default="held_out", help="of the tasks (held_out)")
    arguments = parser.parse_args()
    with one_line_errors():
        summaries = collect(arguments.runs, arguments.split)
    directory = os.path.join("results", arguments.name)
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "evaluations.json")
    write_json(path, summaries, indent=1)
    print(f"{path}: {len(summaries)} evaluations of {len(arguments.runs)} runs")


if __name__ == "__main__":
    main()
