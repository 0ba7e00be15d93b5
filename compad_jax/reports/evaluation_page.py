"""The page of an evaluation, made from its result files alone."""

import base64
import html
import os
from collections.abc import Iterator, Sequence
from typing import Any

from compad_jax.backend.files import write_text
from compad_jax.reports.figures import save_learning_curve
from compad_jax.reports.finished_runs import load
from compad_jax.reports.tables import html_table, text_table
from compad_jax.reports.wording import Summary, title_of
from compad_jax.training.metrics_log import Board

_FIGURE = "learning_curve.png"
_OUTCOME = {True: "pass", False: "FAIL", None: "not measured"}
_IMPOSSIBLE = "FAIL, as it must: the floor is above the target"
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 1rem; }}
h1 {{ font-size: 1.35rem; line-height: 1.3; }} h2 {{ font-size: 1.05rem; margin: 2rem 0 .5rem; }}
img {{ max-width: 100%; background: #fff; border-radius: 6px; }} div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; text-align: left; }}
th, td {{ padding: .25rem 1.5rem .25rem 0; border-bottom: 1px solid #8884; }}
</style><h1>{title}</h1>
<img alt="{title}" src="data:image/png;base64,{picture}">
{body}
</html>
"""


def publish(directories: Sequence[str]) -> None:
    """Writes the report of each evaluation, then prints one table and where to look.

    The learning curves are also shown in the TensorBoard of their run.

    Args:
        directories: of evaluations, each in `eval/` of its run directory.
    """
    summaries = []
    for directory in directories:
        write_report(directory)
        summaries.append(load(directory)[0])
        workdir, name = os.path.dirname(os.path.dirname(directory)), os.path.basename(directory)
        with Board(workdir) as board:
            figure = os.path.join(directory, _FIGURE)
            board.add_png(f"evaluation/{name}/learning_curve", figure, summaries[-1]["step"])
    print(text_table(summaries))
    for directory in directories:
        print(os.path.join(directory, "report.html"))


def write_report(directory: str) -> None:
    """Writes `learning_curve.png` and a self-contained `report.html` of one evaluation.

    Args:
        directory: holds `summary.json` and `curve.csv`; receives the two files.

    Raises:
        ConfigError: no readable evaluation is there.
    """
    summary, curve = load(directory)
    figure = os.path.join(directory, _FIGURE)
    save_learning_curve((summary, curve), figure)
    sections = {
        "Result": [{"": name, "value": value} for name, value in _headline(summary).items()],
        "Tasks": summary["per_task"],
        "Criteria": [criterion_row(row) for row in summary["criteria"]],
        "Settings": [{"": name, "value": value} for name, value in _flatten(summary["config"])],
    }
    write_page(os.path.join(directory, "report.html"), title_of(summary), figure, sections)


def _headline(summary: Summary) -> Summary:
    nested = ("per_task", "criteria", "config")
    return {name: value for name, value in summary.items() if name not in nested}


def _flatten(values: Summary, where: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as (dotted path, value)."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{where}{name}.")
        else:
            yield where + name, value


def criterion_row(row: Summary) -> Summary:
    """A criterion as a line of a table."""
    row = dict(row)
    verdict = _OUTCOME[row["passed"]]
    possible = row.pop("possible")
    return row | {"passed": _IMPOSSIBLE if verdict == "FAIL" and possible is False else verdict}


def write_page(path: str, title: str, figure: str, sections: dict[str, list[Summary]]) -> None:
    """Writes a page without scripts or external resources."""
    with open(figure, "rb") as file:
        picture = base64.b64encode(file.read()).decode()
    body = "\n".join(
        f"<h2>{name}</h2>\n{html_table(records)}" for name, records in sections.items()
    )
    write_text(path, _PAGE.format(title=html.escape(title), picture=picture, body=body))
