"""The page of an evaluation, made from its result files alone."""

import base64
import html
import os
from collections.abc import Iterable, Sequence
from typing import Any

from compad_jax.backend.files import read_json, write_text
from compad_jax.config.checks import leaves_of
from compad_jax.reports import templates
from compad_jax.reports.figures import save_learning_curve
from compad_jax.reports.finished_runs import load
from compad_jax.reports.tables import html_table, text_table
from compad_jax.reports.wording import ACTING, CRITERIA, TASKS, Summary, count, percent, title_of
from compad_jax.training.metrics_log import Board

_FIGURE = "learning_curve.png"
_OUTCOME = {True: "pass", False: "FAIL", None: "not measured"}
_NESTED = ("per_task", "criteria", "config")  # In a summary; they are tables of their own.
_MOST_UNFOLDED = 12  # Rows of a table.
_IMPOSSIBLE = "FAIL, as it must: the floor is above the target"


def publish(directories: Sequence[str]) -> None:
    """Writes the report of each evaluation, then prints one table and where to look.

    The learning curves are also shown in the TensorBoard of their run.

    Args:
        directories: of evaluations, each in `eval/` of its run directory.
    """
    summaries = []
    for directory in directories:
        summaries.append(write_report(directory))
        workdir, name = os.path.dirname(os.path.dirname(directory)), os.path.basename(directory)
        with Board(workdir) as board:
            figure = os.path.join(directory, _FIGURE)
            board.add_png(f"evaluation/{name}/learning_curve", figure, summaries[-1]["step"])
    print(text_table(summaries))
    for directory in directories:
        print(os.path.join(directory, "report.html"))


def write_report(directory: str) -> Summary:
    """Writes `learning_curve.png` and a self-contained `report.html` of one evaluation.

    The page has a player of `life.json`, unless the evaluation is older than that file.

    Returns:
        The contents of `summary.json`.

    Raises:
        ConfigError: no readable evaluation is in the directory.
    """
    summary, curve = load(directory)
    figure = os.path.join(directory, _FIGURE)
    save_learning_curve((summary, curve), figure)
    sections = {
        "Result": _rows((name, x) for name, x in summary.items() if name not in _NESTED),
        "Tasks": summary["per_task"],
        CRITERIA: [criterion_row(row) for row in summary["criteria"]],
        "Settings": _rows(leaves_of(summary["config"])),
    }
    path = os.path.join(directory, "life.json")
    life = _player(read_json(path, "evaluate again")) if os.path.exists(path) else ""
    write_page(os.path.join(directory, "report.html"), title_of(summary), figure, sections, life)
    return summary


def _rows(values: Iterable[tuple[str, Any]]) -> list[Summary]:
    return [{"": name, "value": value} for name, value in values]


def criterion_row(row: Summary) -> Summary:
    """A criterion as a line of a table."""
    row = dict(row)
    verdict = _OUTCOME[row["passed"]]
    possible = row.pop("possible")
    return row | {"passed": _IMPOSSIBLE if verdict == "FAIL" and possible is False else verdict}


def write_page(
    path: str, title: str, figure: str, sections: dict[str, list[Summary]], player: str = ""
) -> None:
    """Writes a page without external resources; long tables are folded up.

    It shows the PNG file `figure`, then the HTML `player`, then `sections`: tables by their titles.
    """
    with open(figure, "rb") as file:
        picture = base64.b64encode(file.read()).decode()
    body = "\n".join(
        f"<details{' open' if len(rows) <= _MOST_UNFOLDED else ''}><summary>{name}</summary>\n"
        f"{html_table(rows)}</details>"
        for name, rows in sections.items()
    )
    style, title = templates.read("page.css"), html.escape(title)
    page = templates.fill(
        "report.html", title=title, style=style, picture=picture, life=player, body=body
    )
    write_text(path, page)


def _player(life: dict[str, Any]) -> str:
    """The part of the page that shows one life; see `evaluation.shown_life`."""
    tasks = count(life["num_tasks"], f"{TASKS[life['split']]} task")
    about = (
        f"Of {tasks}, this is the one in which the first reward came latest; actions are "
        f"{ACTING[life['acting']]}. The window holds {count(life['window'], 'token')}; what leaves "
        "it is compressed into latents."
    )
    if life["shortened"]:
        about += " Here the environment makes nobody wait long, so that waits can be watched."
    return templates.fill(
        "life.html",
        about=about,
        quality=describe_readout(life["quality"]) if life["quality"] else "",
        data=templates.as_data(life),
        script=templates.scripts("room.js", "life.js"),
    )


def describe_readout(quality: dict[str, Any]) -> str:
    """How good a read-out of beliefs is; see `evaluation.readout.judge`."""
    goal = ""
    if quality["goal"] is not None:
        goal = (
            f"names the goal's cell in {percent(quality['goal'])}% of the cases once a reward was "
            f"seen, or one beside it ({percent(quality['near_goal'])}% together), "
        )
    return (
        "What the memory believes is read out of the latents by a linear map, fitted on "
        f"{quality['fitted']} lives in training tasks. In {quality['judged']} lives in other tasks "
        f"it {goal}says in {percent(quality['found'])}% rightly whether a reward was "
        f"seen, and tells visited cells from others in {percent(quality['visited'])}% (balanced; "
        "chance is 50%). It is a lower bound on what the memory holds."
    )
