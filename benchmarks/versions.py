"""The main job at two commits, in turns: is the newer one slower, and does it earn as much?

    python -m benchmarks.versions a26e19b --json results/bench/versions.json

Both are checked out into folders of their own and run there with this Python. The first turn, which
collects and compiles, is counted apart. Takes a minute and a half a run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from compad_jax.backend import files, provenance
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import one_line_errors
from compad_jax.reports.tables import markdown_table
from compad_jax.training.metrics_log import read_metrics

_WHAT = {
    "seconds": "seconds of the whole",
    "train_seconds": "seconds of the training",
    "tokens_per_second": "tokens a second",
}
_JOB = ("train_main.py", "--config", "configs/small.py")


def check_out(commit: str, folder: str) -> str:
    """Clones this repository into a new folder, at a commit; returns that commit's short name.

    Raises:
        ConfigError: there is no such commit.
    """
    try:
        full = _git("rev-parse", "--verify", f"{commit}^{{commit}}")
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"{commit}: no commit of this repository") from error
    _git("clone", "--quiet", "--no-checkout", ".", folder)
    _git("-C", folder, "checkout", "--quiet", full)
    return full[:7]


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def run(folder: str, workdir: str) -> dict[str, Any]:
    """Runs the main job in a checkout.

    Returns:
        `seconds` of the whole, `train_seconds`, `tokens_per_second`, the median of the dispatches
        but the first; and of each action selection the last tenth of the episodes as a share
        of the optimum.
    """
    environment = os.environ | {
        "PYTHONPATH": folder,
        "JAX_COMPILATION_CACHE_DIR": os.path.join(folder, "compiled"),
    }
    begin = time.monotonic()
    command = [sys.executable, *_JOB, "--workdir", workdir]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    seconds = time.monotonic() - begin
    made = Path(folder, workdir)
    timing, *found = (
        files.read_json(str(path), "run it again")
        for path in (made / "timing.json", *made.glob("eval/*/summary.json"))
    )
    rates = [row.get("tokens_per_second") for row in read_metrics(str(made))]
    return {
        "seconds": seconds,
        "train_seconds": timing["seconds"]["train"],
        "tokens_per_second": float(np.median([rate for rate in rates if rate][1:])),
        "returns": {x["action_selection"]: x["final_fraction_of_optimum"] for x in found},
    }


def main() -> None:
    """Runs both commits in turns, prints the ratios and writes what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions")
    parser.add_argument("old", help="commit to compare with")
    parser.add_argument("new", nargs="?", default="HEAD", help="commit that is compared")
    parser.add_argument("--turns", type=int, default=2, help="after the first, which is cold")
    parser.add_argument("--json", required=True)
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    with one_line_errors(), tempfile.TemporaryDirectory() as place:
        folders = {name: os.path.join(place, name) for name in ("old", "new")}
        commits = {name: check_out(getattr(arguments, name), folders[name]) for name in folders}
        for turn in range(arguments.turns + 1):
            # Who goes first changes, so that a machine that drifts favours neither.
            for name in sorted(folders, reverse=bool(turn % 2)):
                runs.append({"version": name, "turn": turn, **run(folders[name], f"runs/{turn}")})
    ratios = {key: _ratio(runs, key) for key in _WHAT}
    facts = {"commits": commits, "hardware": provenance.describe_hardware(), "ratios": ratios}
    files.write_json(arguments.json, facts | {"runs": runs}, indent=1)
    for key, value in ratios.items():
        print(f"{key}: new is {value:.3f} of old")


def table(facts: dict[str, Any]) -> str:
    """What was found as a table in Markdown: medians of the warm turns, and new over old."""
    runs, (old, new) = facts["runs"], (facts["commits"][name] for name in ("old", "new"))
    rows = [
        {
            "": what,
            old: f"{_median(runs, 'old', key):,.1f}",
            new: f"{_median(runs, 'new', key):,.1f}",
            "ratio": f"{facts['ratios'][key]:.3f}",
        }
        for key, what in _WHAT.items()
    ]
    rows += [_returns(runs, acting, old, new) for acting in ("greedy", "sample")]
    turns = max(run["turn"] for run in runs)
    return f"{markdown_table(rows)}\n\n{turns} warm turns; {facts['hardware']}."


def _returns(runs: list[dict[str, Any]], acting: str, old: str, new: str) -> dict[str, str]:
    """A row: all turns of a commit end alike, as all use the same seed."""
    found = {run["version"]: f"{100 * run['returns'][acting]:.1f}%" for run in runs}
    return {"": f"of the optimum, {acting}", old: found["old"], new: found["new"], "ratio": ""}


def _ratio(runs: list[dict[str, Any]], key: str) -> float:
    return _median(runs, "new", key) / _median(runs, "old", key)


def _median(runs: list[dict[str, Any]], version: str, key: str) -> float:
    """Of the warm turns of a version."""
    values = [run[key] for run in runs if run["version"] == version and run["turn"]]
    return float(np.median(values))


if __name__ == "__main__":
    main()
