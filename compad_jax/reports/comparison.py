"""Runs beside each other: one figure, one table, one page."""

import os
from collections.abc import Sequence

from compad_jax.backend import files
from compad_jax.reports.evaluation_page import criterion_row, write_page
from compad_jax.reports.figures import save_comparison
from compad_jax.reports.finished_runs import comparable, load_run
from compad_jax.reports.tables import markdown_table, row_of, text_table
from compad_jax.reports.wording import CRITERIA, Summary, place_of


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
    files.write_json(os.path.join(directory, "comparison.json"), summaries)
    rows, criteria = [row_of(summary) for summary in summaries], _criteria_of(summaries)
    tables = "\n\n".join(map(markdown_table, filter(None, (rows, criteria))))
    files.write_text(os.path.join(directory, "comparison.md"), tables + "\n")
    title = f"{len(set(run_directories))} runs: {place_of(summaries[0])}"
    sections = {"Result": rows, CRITERIA: criteria}
    write_page(os.path.join(directory, "comparison.html"), title, figure, sections)
    return text_table(summaries)


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
            line[column] = value + criterion_row(row)["passed"]
    return list(lines.values())
