"""Collects the evaluations of finished runs into one small results file.

    python -m experiments.collect_results small_splits runs/small runs/small_seed_1
    python -m experiments.collect_results choice shorter=runs/small --split validation --keep

It writes `results/NAME/evaluations.json`: a list of the summaries of all evaluations, in the
order of the runs, each with the name of its run, or with one that is given to it. Of the tasks
only the worst is kept, so that the file stays small however many there are. With `--keep`, what
the file has of other runs stays in front.
"""

import argparse
import os

import numpy as np

from compad_jax.backend.files import write_json
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import one_line_errors
from compad_jax.reports.finished_runs import load_run
from compad_jax.reports.wording import Summary
from experiments.docs_tables import read_evaluations
from experiments.evaluation_tables import worst_task

_LONG = 1000  # Episodes.
_LEFT_OUT = ("per_task", "criteria")


def collect(runs: list[str], split: str = "held_out") -> list[Summary]:
    """The summaries of all evaluations of some runs.

    Args:
        runs: run directories, each with finished evaluations, or NAME=DIRECTORY.
        split: of the tasks; evaluations of others are left out.

    Returns:
        The contents of each `summary.json` without `per_task` and `criteria`, and with
        `worst_task` and, where it was measured, `timing`; of long lives `fraction_of_tenths`.

    Raises:
        ConfigError: a run has no readable evaluation, or none on this split.
    """
    named = [_name_and_directory(run) for run in runs]
    chosen = [(name, *e) for name, run in named for e in load_run(run) if e[0]["split"] == split]
    for name, run in named:
        if name not in {row[0] for row in chosen}:
            raise ConfigError(f"{run}: no evaluation on {split} tasks")
    return [
        {key: value for key, value in summary.items() if key not in _LEFT_OUT}
        | {"run": name, "worst_task": worst_task(summary)}
        | tenths(curve)
        for name, summary, curve in chosen
    ]


def _name_and_directory(run: str) -> tuple[str, str]:
    """What a run is called, and where it is: from DIRECTORY or NAME=DIRECTORY."""
    name, is_named, directory = run.partition("=")
    if is_named and not os.path.isdir(run):  # Names of directories may have a "=", too.
        return name, directory
    return os.path.basename(os.path.normpath(run)), run


def join(kept: list[Summary], collected: list[Summary]) -> list[Summary]:
    """What is kept of a file, then what was collected; of a run in both, only the latter."""
    anew = {summary["run"] for summary in collected}
    return [summary for summary in kept if summary["run"] not in anew] + collected


def tenths(curve: np.ndarray) -> Summary:
    """Of long lives, the mean share of the optimum in each tenth, as `fraction_of_tenths`."""
    if len(curve) < _LONG or np.isnan(curve["fraction"]).any():
        return {}
    return {"fraction_of_tenths": [float(x.mean()) for x in np.array_split(curve["fraction"], 10)]}


def main() -> None:
    """Parses the command line and writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="the file is results/NAME/evaluations.json")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory, or NAME=DIRECTORY")
    parser.add_argument("--keep", action="store_true", help="keep what the file has of other runs")
    parser.add_argument("--split", default="held_out", help="of the tasks (held_out)")
    arguments = parser.parse_args()
    directory = os.path.join("results", arguments.name)
    path = os.path.join(directory, "evaluations.json")
    with one_line_errors():
        summaries = collect(arguments.runs, arguments.split)
        if arguments.keep:
            summaries = join(read_evaluations(directory), summaries)
    os.makedirs(directory, exist_ok=True)
    write_json(path, summaries, indent=1)
    num_runs = len({summary["run"] for summary in summaries})
    print(f"{path}: {len(summaries)} evaluations of {num_runs} runs")


if __name__ == "__main__":
    main()
