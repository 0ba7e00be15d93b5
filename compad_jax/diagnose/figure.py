"""One figure of a diagnosis: the source, the targets, the losses, the memory."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from compad_jax.diagnose.data import Facts
from compad_jax.reports.figures import COLORS, GREY, INK, draw_in_style

_MAX_DOTS = 30  # Points of a line that are marked one by one.


def save_figure(facts: Facts, path: str) -> None:
    """Draws what was measured, three panels before a training and up to six after it.

    Args:
        facts: as in `diagnosis.json`.
        path: of the PNG file.
    """
    with draw_in_style():
        _draw(facts).savefig(path)


def _draw(facts: Facts) -> Figure:
    run, has_memory = facts["run"], facts["has_memory"]
    panels = [_source, _entropy, _targets, _by_depth if has_memory else _by_position]
    if run:
        panels += [_by_position] if has_memory else []
        panels += [_memory if run["held_out"]["memory"] else _gradients]
    columns = (len(panels) + 1) // 2
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(1 + 3.4 * columns, 5.6), layout=layout)
    figure.suptitle(title_of(facts), x=0.01, ha="left", size=10.5, weight="bold")
    grid = figure.subplots(2, columns).T.ravel()
    for axes, draw in zip(grid, panels, strict=False):
        draw(axes, facts)
    for axes in grid[len(panels) :]:
        axes.remove()
    return figure


def title_of(facts: Facts) -> str:
    """One line on what was diagnosed."""
    if not facts["run"]:
        return f"{facts['workdir']}: before training"
    return f"{facts['workdir']} after {facts['run']['step']:,} steps"


def _source(axes: Axes, facts: Facts) -> None:
    curve, whole = facts["source"]["fraction_of_optimum"], facts["source"]["relative_to"]
    axes.plot(range(1, len(curve) + 1), curve, color=INK, **_dots(curve))
    axes.set(ylim=(0, 1.05), xlabel="Episode of the source", ylabel=f"Share of {whole}")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("Return of the source", loc="left", size=9)


def _entropy(axes: Axes, facts: Facts) -> None:
    entropy = facts["source"]["entropy"]
    axes.plot(entropy, color=INK, lw=1)
    _mark_uniform(axes, facts)
    axes.set(xlabel="Environment step of the history", ylabel="Nats")
    axes.set_title("Entropy of its policy", loc="left", size=9)


def _targets(axes: Axes, facts: Facts) -> None:
    shares = facts["sampling"]["targets_by_tenth"]
    axes.bar(np.arange(len(shares)) + 0.5, shares, width=0.9, color=COLORS[0])
    axes.axhline(1 / len(shares), color=GREY, lw=0.8, ls="--")
    axes.set(xticks=range(0, 11, 2), xticklabels=[f"{10 * x}%" for x in range(0, 11, 2)])
    axes.set(xlim=(0, 10), xlabel="Part of the history", ylabel="Share of the targets")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title("Training targets; dashed: uniform", loc="left", size=9)


def _by_depth(axes: Axes, facts: Facts) -> None:
    _losses(axes, facts, "by_depth")
    axes.set(xlabel="Compressions before the target")
    axes.set_title("Loss by depth", loc="left", size=9)


def _by_position(axes: Axes, facts: Facts) -> None:
    _losses(axes, facts, "by_position")
    axes.set(xlabel="Position in the segment")
    axes.set_title("Loss by position", loc="left", size=9)


def _losses(axes: Axes, facts: Facts, group: str) -> None:
    """Floor of the training targets; of a run its losses, and the floor of the held-out ones."""
    run = facts["run"]
    if run:
        lines = [
            ("held-out", COLORS[1], run["held_out"][group]["loss"]),
            ("training", COLORS[0], run["train"][group]["loss"]),
            ("floor", INK, run["held_out"][group]["floor"]),
        ]
    else:
        lines = [("floor, training", INK, facts["loss"][f"floor_{group}"])]
    for label, color, values in lines:
        axes.plot(np.array(values, float), color=color, label=label, **_dots(values))  # None: NaN.
    _mark_uniform(axes, facts)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set(ylabel="Nats")
    place: dict[str, Any] = {
        "loc": "lower right",
        "bbox_to_anchor": (1.03, 0.97),
        "borderaxespad": 0.2,
    }
    axes.legend(ncols=3, fontsize=7.5, columnspacing=0.8, handlelength=1, **place)


def _memory(axes: Axes, facts: Facts) -> None:
    memory = facts["run"]["held_out"]["memory"]
    values = [memory["as_is"], memory["zeroed"], memory["of_another_task"]]
    labels = ["its own", "zeros", "another task's"]
    bars = axes.bar(labels, values, color=[COLORS[0], COLORS[1], COLORS[1]], width=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=2, size=8)
    axes.margins(y=0.15)
    axes.set(ylabel="Nats", xlabel=f"Memory ({memory['num_targets']:,} held-out targets)")
    axes.set_title("Loss with the memory replaced", loc="left", size=9)


def _gradients(axes: Axes, facts: Facts) -> None:
    norms = facts["run"]["gradient_norm"]
    bars = axes.bar(list(norms), list(norms.values()), color=COLORS[0], width=0.6)
    axes.bar_label(bars, fmt="%.2g", padding=2, size=8)
    axes.margins(y=0.15)
    axes.set(ylabel="Norm", xlabel="Part of the policy")
    axes.set_title("Gradient of a training batch", loc="left", size=9)


def _mark_uniform(axes: Axes, facts: Facts) -> None:
    """A dotted line where uniform guesses are; the axis starts at 0."""
    uniform = facts["loss"]["uniform"]
    axes.axhline(uniform, color=GREY, lw=0.8, ls=":")
    place: dict[str, Any] = {
        "xy": (1, uniform),
        "xycoords": ("axes fraction", "data"),
        "ha": "right",
    }
    text: dict[str, Any] = {
        "xytext": (0, 2),
        "textcoords": "offset points",
        "color": GREY,
        "size": 7.5,
    }
    axes.annotate("uniform guesses", **place, **text)
    top = max(uniform, *(np.nanmax(line.get_ydata()) for line in axes.lines))
    axes.set_ylim(0, 1.12 * top)


def _dots(values: list[Any]) -> dict[str, Any]:
    """A short curve shows its points, and one of a single point can be seen at all."""
    return {"marker": "o" if len(values) <= _MAX_DOTS else "", "ms": 3, "lw": 1.3}
