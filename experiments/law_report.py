"""Table and figure of the experiment on waits and windows."""

import os
from typing import Any

from matplotlib.figure import Figure

from compad_jax.backend.files import write_text
from compad_jax.reports.figures import COLORS, GREY, draw_in_style, save_figure
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import ACTING, percent
from experiments.suites import Suite
from experiments.wait_report import budget_of

Line = dict[str, Any]  # Of results.jsonl.
_METHODS = {"compad": "CompAD", "ad": "AD"}


def write(suite: Suite, lines: list[Line], directory: str) -> str:
    """Writes `table.md` and `figure.png` of the runs finished so far; returns the table."""
    order = [arm.name for arm in suite.arms]
    lines = sorted(lines, key=lambda line: order.index(line["arm"]))
    text = f"{markdown_table([_row(line) for line in lines])}\n\n{budget_of(suite, lines)}\n"
    write_text(os.path.join(directory, "table.md"), text)
    with draw_in_style():
        save_figure(_draw(suite, lines), os.path.join(directory, "figure.png"))
    return text


def direct(line: Line, selection: str) -> float:
    """Share of the episodes after the first that walk straight to the goal."""
    return float(line["conditions"]["as_trained"][selection]["direct_fraction"])


def _place(line: Line) -> tuple[str, int, int]:
    """Method, steps of the wait and window of an arm."""
    method, wait, tokens = line["arm"].split("_")
    return method, int(wait), int(tokens)


def _row(line: Line) -> dict[str, str]:
    method, wait, tokens = _place(line)
    row = {
        "method": _METHODS[method],
        "wait": str(wait),
        "window": str(tokens),
        "wait / window": f"{wait / tokens:g}",
    }
    return row | {label: f"{percent(direct(line, name))}%" for name, label in ACTING.items()}


def _draw(suite: Suite, lines: list[Line]) -> Figure:
    """A point an arm: how long waits are against the window, and what is still known then."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    figure.suptitle(suite.question, x=0.01, ha="left", size=10.5, weight="bold")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (selection, label) in zip(panels, ACTING.items(), strict=True):
        for color, (method, name) in zip(COLORS, _METHODS.items(), strict=False):
            runs = [line for line in lines if _place(line)[0] == method]
            ratios = [_place(line)[1] / _place(line)[2] for line in runs]
            axes.plot(ratios, [direct(x, selection) for x in runs], "o", color=color, label=name)
        axes.axvline(1, color=GREY, lw=0.8, ls=":")
        axes.set_xscale("log", base=2)
        axes.set_xlabel("Steps of the wait / tokens of the window", color=GREY)
        axes.set_title(f"Acting: {label}", loc="left", size=9)
        axes.set_ylim(-0.02, 1.04)
    panels[0].set_ylabel("Straight to the goal, after the first episode")
    panels[0].legend(loc="lower left")
    return figure
