"""Reports: the page of an evaluation, the comparison of runs, and their tables."""

import base64
import html
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from compad_jax.reports.figures import (
    Summary,
    final_of,
    percent,
    place_of,
    save_comparison,
    save_learning_curve,
    shorten,
    title_of,
    worst_of,
)
from compad_jax.reports.finished_runs import comparable, load, load_run

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
    """Writes the report of each evaluation, then prints one table and where to look."""
    for directory in directories:
        write_report(directory)
    print(table([load(directory)[0] for directory in directories]))
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
    figure = os.path.join(directory, "learning_curve.png")
    save_learning_curve((summary, curve), figure)
    sections = {
        "Result": [{"": name, "value": value} for name, value in _headline(summary).items()],
        "Goals": summary["per_task"],
        "Criteria": [_criterion(row) for row in summary["criteria"]],
        "Settings": [{"": name, "value": value} for name, value in _flatten(summary["config"])],
    }
    _write_page(os.path.join(directory, "report.html"), title_of(summary), figure, sections)


def compare(run_directories: Sequence[str], directory: str) -> str:
    """Draws runs into one figure and writes their headline numbers beside it.

    Where runs hold evaluations of several kinds, one kind that all of them share is
    drawn: of held-out tasks before others, then the longest.

    Args:
        run_directories: each holds `eval/*/summary.json` and `curve.csv`.
        directory: receives `comparison.png`, `comparison.html`, `comparison.md` (the table,
            and which criteria each run meets) and, with all there is to know of each
            evaluation and the seconds of each run, `comparison.json`.

    Returns:
        The table of all evaluations drawn.

    Raises:
        ConfigError: a run has no evaluation, or two runs cannot be compared.
    """
    evaluations = comparable({run: load_run(run) for run in run_directories})
    summaries = [summary for summary, _ in evaluations]
    os.makedirs(directory, exist_ok=True)
    figure = os.path.join(directory, "comparison.png")
    save_comparison(evaluations, figure)
    with open(os.path.join(directory, "comparison.json"), "w", encoding="utf-8") as file:
        json.dump(summaries, file, indent=2)
    rows = [_row(summary) for summary in summaries]
    with open(os.path.join(directory, "comparison.md"), "w", encoding="utf-8") as file:
        file.write(f"{markdown_table(rows)}\n\n{markdown_table(_criteria_of(summaries))}\n")
    title = f"{len(set(run_directories))} runs: {place_of(summaries[0])}"
    sections = {"Result": rows, "Criteria": _criteria_of(summaries)}
    _write_page(os.path.join(directory, "comparison.html"), title, figure, sections)
    return table(summaries)


def table(summaries: Sequence[Summary], *, width: int = 110) -> str:
    """Formats evaluations as aligned plain text.

    Args:
        summaries: contents of `summary.json`, a row each.
        width: most columns of a line; a long run name loses its middle.

    Returns:
        Header and rows. `overall`, `final` (the last tenth of the episodes) and
        `worst goal` (its final value) are shares of the optimum.
    """
    rows = [_row(summary) for summary in summaries]
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    sizes = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sizes[0] = min(sizes[0], width - sum(sizes[1:]) - 2 * len(sizes[1:]))
    cells = "  ".join(f"{{:{'<' if i < 3 else '>'}{size}}}" for i, size in enumerate(sizes))
    return "\n".join(cells.format(shorten(run, sizes[0]), *others) for run, *others in lines)


def _row(summary: Summary) -> dict[str, str]:
    """One evaluation in the table."""
    return {
        "run": summary["run"],
        "method": summary["method"],
        "acting": summary["action_selection"],
        "overall": f"{percent(summary['fraction_of_optimum'])}%",
        "final [95% CI]": final_of(summary),
        "worst goal": worst_of(summary),
        "to 90%": str(summary["episodes_to_90_percent"] or "never"),
        "compressions": f"{summary['num_compressions']:,}",
        "steps/s": f"{summary['env_steps_per_second']:,.0f}",
    }


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


def _criterion(row: Summary) -> Summary:
    """A criterion as a line of a table."""
    row = dict(row)
    verdict = _OUTCOME[row["passed"]]
    possible = row.pop("possible")
    return row | {"passed": _IMPOSSIBLE if verdict == "FAIL" and possible is False else verdict}


def _criteria_of(summaries: Sequence[Summary]) -> list[Summary]:
    """A line a criterion and a column an evaluation: value, for losses the floor, verdict."""
    columns = {f"{s['run']}, {s['action_selection']}": s["criteria"] for s in summaries}
    lines: dict[tuple[str, str], Summary] = {}
    for column, criteria in columns.items():
        for row in criteria:
            name, target = row["name"], row["target"]
            empty = {"criterion": name, "target": target} | dict.fromkeys(columns, "")
            line = lines.setdefault((name, target), empty)
            floor = "" if row["floor"] is None else f" (floor {row['floor']:.3f})"
            value = "" if row["value"] is None else f"{row['value']:.3f}{floor}: "
            line[column] = value + _criterion(row)["passed"]
    return list(lines.values())


def markdown_table(records: Sequence[Summary]) -> str:
    """Formats dictionaries with equal keys, a row each."""
    lines = [list(records[0]), ["---"] * len(records[0]), *(r.values() for r in records)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _html_table(records: Sequence[Summary]) -> str:
    """Table of dictionaries with equal keys, with everything escaped."""
    lines = [[f"<th>{html.escape(name)}</th>" for name in records[0]]] if records else []
    lines += [[f"<td>{html.escape(_format(x))}</td>" for x in r.values()] for r in records]
    return (
        "<div><table>" + "".join(f"\n<tr>{''.join(line)}</tr>" for line in lines) + "</table></div>"
    )


def _format(value: Any) -> str:
    """Text of a value for people."""
    if isinstance(value, int | float) and abs(value) >= 1e4:
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, dict):
        value = [f"{name} {item}" for name, item in value.items()]
    if isinstance(value, list):
        return ", ".join(map(_format, value))
    return "-" if value is None else str(value)


def _write_page(path: str, title: str, figure: str, sections: dict[str, list[Summary]]) -> None:
    """Writes a page without scripts or external resources."""
    with open(figure, "rb") as file:
        picture = base64.b64encode(file.read()).decode()
    body = "\n".join(
        f"<h2>{name}</h2>\n{_html_table(records)}" for name, records in sections.items()
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(_PAGE.format(title=html.escape(title), picture=picture, body=body))
