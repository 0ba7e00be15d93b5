"""Lists run directories, the newest last.

    python -m compad_jax.runs [DIR ...]

`loss` is that of the last logged step; its floor is the entropy of what is imitated. `greedy` and
`sampled` are the last tenth of a finished evaluation, on held-out tasks if there is one: a share
of the optimum, or a return where no optimum is known.
"""

import argparse
import datetime
import glob
import os
from typing import Any

from compad_jax.config import ConfigError, load_json
from compad_jax.config.checks import require
from compad_jax.config.command_line import one_line_errors
from compad_jax.reports.finished_runs import load_run
from compad_jax.reports.tables import plain_table
from compad_jax.reports.wording import final_of
from compad_jax.training.checkpoints import newest_step
from compad_jax.training.metrics_log import read_metrics

_COLUMNS = ("run", "step", "loss", "above floor", "greedy", "sampled", "changed", "note")


def main() -> None:
    """Prints a line a run below the directories of the command line."""
    parser = argparse.ArgumentParser(prog="python -m compad_jax.runs", description=__doc__)
    parser.add_argument("directories", nargs="*", default=["runs"], metavar="DIR")
    with one_line_errors():
        rows = [row for root in parser.parse_args().directories for row in list_runs(root)]
        print(plain_table(rows) if rows else "no runs")


def list_runs(root: str) -> list[dict[str, str]]:
    """Finds all run directories below one, or that one itself: a row each, by its last change.

    Raises:
        ConfigError: there is no such directory.
    """
    require(os.path.isdir(root), f"{root}: no such directory")
    pattern = os.path.join(glob.escape(root), "**", "config.json")
    folders = [os.path.dirname(path) for path in glob.iglob(pattern, recursive=True)]
    return [_row(root, folder) for folder in sorted(folders, key=_last_change)]


def _row(root: str, folder: str) -> dict[str, str]:
    """What can be said of a run; a damaged one says what is wrong instead."""
    name = os.path.relpath(folder, root) if folder != root else folder
    date = datetime.datetime.fromtimestamp(_last_change(folder)).strftime("%Y-%m-%d %H:%M")
    row = dict.fromkeys(_COLUMNS, "") | {"run": name, "changed": date}
    try:
        total = load_json(os.path.join(folder, "config.json")).train.train_timesteps
        row |= {"step": f"{newest_step(folder) or 0:,} of {total:,}", **_loss(folder)}
        if glob.glob(os.path.join(glob.escape(folder), "eval", "*", "summary.json")):
            row |= _returns(folder)
    except (ConfigError, OSError) as error:
        row["note"] = str(error)
    return row


def _loss(folder: str) -> dict[str, str]:
    """The last loss, and how far it is above its floor."""
    logged: dict[str, Any] = next(iter(read_metrics(folder)[-1:]), {})
    loss, floor = logged.get("loss"), logged.get("floor")
    if loss is None:
        return {}
    above = {} if floor is None else {"above floor": f"{loss - floor:.3f}"}
    return {"loss": f"{loss:.3f}"} | above


def _returns(folder: str) -> dict[str, str]:
    """The final result of the last evaluation for each way to act, of held-out tasks first."""
    summaries = [summary for summary, _ in load_run(folder)]
    summaries.sort(key=lambda summary: (summary["split"] == "held_out", summary["step"]))
    columns = {"greedy": "greedy", "sample": "sampled"}
    return {columns[x["action_selection"]]: final_of(x) for x in summaries}


def _last_change(folder: str) -> float:
    """When the run was last written to, in seconds since 1970."""
    names = ("", "config.json", "metrics.jsonl", "checkpoints", "eval")
    paths = [os.path.join(folder, name) for name in names]
    return max(os.path.getmtime(path) for path in paths if os.path.exists(path))


if __name__ == "__main__":
    main()
