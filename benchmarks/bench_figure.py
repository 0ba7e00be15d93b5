"""One figure of all sweeps: the cost of an item against each setting, on log axes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.bench_measure import Facts
from compad_jax.reports.figures import COLORS, GREY, draw_in_style

_COLUMNS = 3


def save_sweeps(sweeps: dict[str, Facts], path: str) -> None:
    """Draws a panel a sweep.

    Args:
        sweeps: as `bench_sweeps.run_sweeps` returns them, at least one.
        path: of the PNG file.
    """
    with draw_in_style():
        _draw(list(sweeps.values())).savefig(path)


def _draw(sweeps: list[Facts]) -> Figure:
    rows = -(-len(sweeps) // _COLUMNS)
    figure = Figure(figsize=(3.1 * min(_COLUMNS, len(sweeps)), 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, min(_COLUMNS, len(sweeps)), squeeze=False).ravel()
    for axes, facts in zip(grid, sweeps, strict=False):
        _panel(axes, facts)
    for axes in grid[len(sweeps) :]:
        axes.remove()
    return figure


def _panel(axes: Axes, facts: Facts) -> None:
    """Medians with quartiles, and the fitted power law."""
    x = np.array([point["x"] for point in facts["points"]], float)
    median, low, high = (
        np.array([1e6 * point["seconds"][key] for point in facts["points"]])
        for key in ("median", "low", "high")
    )
    axes.set(xscale="log", yscale="log")
    axes.errorbar(x, median, (median - low, high - median), fmt="o", ms=4, color=COLORS[0])
    title = f"per {facts['item']}"
    if facts["slope"] is not None:
        centre = np.exp(np.log(median).mean() - facts["slope"] * np.log(x).mean())
        axes.plot(x, centre * x ** facts["slope"], "--", lw=1, color=GREY)
        title += f": slope {facts['slope']:+.2f}"
    axes.set_title(title, loc="left", size=9)
    axes.set(xlabel=facts["label"], ylabel="Microseconds")
    axes.set_xticks(x, [f"{int(value):,}" for value in x])
    axes.set_ylim(median.min() / 2, median.max() * 2)  # A flat line looks flat.
    ticks = [t for k in range(-3, 7) for t in (10.0**k, 2 * 10.0**k, 5 * 10.0**k)]
    axes.set_yticks([t for t in ticks if median.min() / 2 <= t <= median.max() * 2])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
