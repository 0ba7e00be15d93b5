"""Table and figure of the experiment on waits and windows."""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from compad_jax.backend.files import write_text
from compad_jax.reports.figures import COLORS, GREY, draw_in_style, save_figure
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import ACTING, percent
from experiments.suites import Suite
from experiments.wait_report import budget_of

Line = dict[str, Any]  # Of results.jsonl.
Summary = dict[str, Any]  # Of an evaluation; `curve` has the share of the optimum by episode.
_AD, _COMPAD, _ANY = "AD", "CompAD", "CompAD of all waits"
_LOOKS = {_AD: (COLORS[1], "o"), _COMPAD: (COLORS[0], "s"), _ANY: (COLORS[2], "D")}
_LATER = slice(9, None)  # Episodes, from the tenth on.


class Point(NamedTuple):
    """A training, met with waits of one length."""

    method: str
    wait: int  # Steps.
    window: int  # Decoder tokens.
    by_selection: dict[str, Summary]


def write(suite: Suite, lines: list[Line], directory: str) -> str:
    """Writes `table.md` and `figure.png` of the runs finished so far; returns the table."""
    points = [point for line in lines for point in _points(line)]
    text = (
        f"{markdown_table(_rows(points))}\n\nGreedy / sampled, in percent; means of the trainings. "
        "found: episodes whose goal is reached, in the first one and from the tenth on. straight: "
        "episodes after the first whose goal is reached within the shortest path + 2. AD and "
        f"CompAD were trained on waits of this length, {_ANY} on waits of up to 300.\n\n"
        f"{budget_of(suite, lines)}\n"
    )
    write_text(os.path.join(directory, "table.md"), text)
    with draw_in_style():
        save_figure(_draw(suite, points), os.path.join(directory, "figure.png"))
    return text


def _points(line: Line) -> Iterator[Point]:
    """Of a training on waits of one length one point, of one on all waits several."""
    method, wait, tokens = line["arm"].split("_")
    conditions = line["conditions"]
    if wait != "any":
        name = _AD if method == "ad" else _COMPAD
        yield Point(name, int(wait), int(tokens), conditions["as_trained"])
    else:
        for name, summaries in conditions.items():
            if name != "as_trained":
                yield Point(_ANY, int(name), int(tokens), summaries)


def _first(summary: Summary) -> float:
    return float(summary["curve"][0])


def _later(summary: Summary) -> float:
    return float(np.mean(summary["curve"][_LATER]))


def _straight(summary: Summary) -> float:
    return float(summary["direct_fraction"])


_COLUMNS: tuple[tuple[str, str, Callable[[Summary], float]], ...] = (
    (_AD, "first found", _first),
    (_AD, "found", _later),
    (_AD, "straight", _straight),
    (_COMPAD, "found", _later),
    (_COMPAD, "straight", _straight),
    (_ANY, "found", _later),
    (_ANY, "straight", _straight),
)


def _rows(points: list[Point]) -> list[dict[str, str]]:
    """A row a wait and a window."""
    rows = []
    for wait, window in sorted({(p.wait, p.window) for p in points}):
        row = {"wait": str(wait), "window": str(window), "wait / window": f"{wait / window:g}"}
        for method, label, measure in _COLUMNS:
            place = (method, wait, window)
            same = [p.by_selection for p in points if (p.method, p.wait, p.window) == place]
            row[f"{method}: {label}"] = _show(same, measure)
        rows.append(row)
    return rows


def _show(trainings: list[dict[str, Summary]], measure: Callable[[Summary], float]) -> str:
    if not trainings:
        return "-"
    means = [np.mean([measure(summaries[name]) for summaries in trainings]) for name in ACTING]
    return " / ".join(percent(float(mean)) for mean in means)


def _draw(suite: Suite, points: list[Point]) -> Figure:
    """A point a training: how long waits are against the window, and what is still known then."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    figure.suptitle(suite.question, x=0.01, ha="left", size=10.5, weight="bold")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (selection, label) in zip(panels, ACTING.items(), strict=True):
        for method, (color, marker) in _LOOKS.items():
            own = [p for p in points if p.method == method]
            ratios = [p.wait / p.window for p in own]
            shares = [_straight(p.by_selection[selection]) for p in own]
            axes.plot(ratios, shares, marker, color=color, alpha=0.75, ms=5.5, mew=0, label=method)
        axes.axvline(1, color=GREY, lw=0.8, ls=":")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("Steps of the wait / tokens of the window", color=GREY)
        axes.set_title(f"Acting: {label}", loc="left", size=9)
        axes.set_ylim(-0.02, 1.04)
    panels[0].set_ylabel("Straight to the goal, after the first episode")
    panels[0].legend(loc="center left", bbox_to_anchor=(0.0, 0.3))
    return figure
