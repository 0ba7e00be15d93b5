"""One figure of a diagnosis: the source, the targets, the losses, the memory."""

from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from compad_jax.diagnose.data import Facts
from compad_jax.reports.figures import COLORS, GREY, INK, draw_in_style, save_figure

_MAX_DOTS = 30  # Points of a line that are marked one by one.


def save_diagnosis(facts: Facts, path: str) -> None:
    """Draws the facts of `diagnosis.json`: three panels before a training, up to six after it."""
    style: Any = {"axes.titlelocation": "left", "axes.titlesize": 9}
    with draw_in_style(), rc_context(style):
        save_figure(_draw(facts), path)


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
    shares = facts["source"]["fraction_of_optimum"]
    curve = shares or facts["source"]["returns"]
    axes.plot(range(1, len(curve) + 1), curve, color=INK, **_dots(curve))
    axes.set(xlabel="Episode of the source", ylabel="Share of the optimum" if shares else "Return")
    if shares:
        axes.set_ylim(min(0, *shares), 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("Return of the source")


def _entropy(axes: Axes, facts: Facts) -> None:
    axes.plot(facts["source"]["entropy"] or [], color=INK, lw=1)
    _mark_uniform(axes, facts)
    axes.set(xlabel="Environment step of the history", ylabel="Nats")
    known = facts["source"]["entropy"] is not None
    axes.set_title(f"Entropy of its policy{'' if known else ': not known'}")


def _targets(axes: Axes, facts: Facts) -> None:
    shares = facts["sampling"]["targets_by_tenth"]
    axes.bar(np.arange(len(shares)) + 0.5, shares, width=0.9, color=COLORS[0])
    axes.axhline(1 / len(shares), color=GREY, lw=0.8, ls="--")
    axes.set(xticks=range(0, 11, 2), xticklabels=[f"{10 * x}%" for x in range(0, 11, 2)])
    axes.set(xlim=(0, 10), xlabel="Part of the history", ylabel="Share of the targets")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title("Training targets; dashed: uniform")


def _by_depth(axes: Axes, facts: Facts) -> None:
    _losses(axes, facts, "by_depth")
    axes.set(xlabel="Compressions before the target", title="Loss by depth")


def _by_position(axes: Axes, facts: Facts) -> None:
    _losses(axes, facts, "by_position")
    axes.set(xlabel="Position in the segment", title="Loss by position")


def _losses(axes: Axes, facts: Facts, group: str) -> None:
    """Floor of the training targets; of a run its losses, and the floor of the held-out ones."""
    run = facts["run"]
    lines = [("floor, training", INK, facts["loss"][f"floor_{group}"])]
    if run:
        lines = [
            ("held-out", COLORS[1], run["held_out"][group]["loss"]),
            ("training", COLORS[0], run["train"][group]["loss"]),
            ("floor", INK, run["held_out"][group]["floor"]),
        ]
    for label, color, values in lines:
        axes.plot(np.array(values, float), color=color, label=label, **_dots(values))  # None: NaN.
    _mark_uniform(axes, facts)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set(ylabel="Nats")
    place: Any = {"loc": "lower right", "bbox_to_anchor": (1.03, 0.97), "borderaxespad": 0.2}
    axes.legend(ncols=3, fontsize=7.5, columnspacing=0.8, handlelength=1, **place)


def _memory(axes: Axes, facts: Facts) -> None:
    memory = facts["run"]["held_out"]["memory"]
    names = {"as_is": "its own", "zeroed": "zeros", "of_another_task": "another task's"}
    _bars(axes, {label: memory[name] for name, label in names.items()}, "%.2f")
    axes.set(ylabel="Nats", xlabel=f"Memory ({memory['num_targets']:,} held-out targets)")
    axes.set_title("Loss with the memory replaced")


def _gradients(axes: Axes, facts: Facts) -> None:
    _bars(axes, facts["run"]["gradient_norm"], "%.2g")
    axes.set(ylabel="Norm", xlabel="Part of the policy", title="Gradient of a training batch")


def _bars(axes: Axes, values: dict[str, float], form: str) -> None:
    colors = [COLORS[0], *[COLORS[1]] * (len(values) - 1)]
    bars = axes.bar(list(values), list(values.values()), color=colors, width=0.6)
    axes.bar_label(bars, fmt=form, padding=2, size=8)
    axes.margins(y=0.15)


def _mark_uniform(axes: Axes, facts: Facts) -> None:
    """A dotted line where uniform guesses are; the axis starts at 0."""
    uniform = facts["loss"]["uniform"]
    axes.axhline(uniform, color=GREY, lw=0.8, ls=":")
    text: Any = {"ha": "right", "va": "bottom", "color": GREY, "size": 7.5}
    axes.text(1, uniform, "uniform guesses", transform=axes.get_yaxis_transform(), **text)
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
    axes.set_ylim(0, 1.12 * max(uniform, np.nanmax(values)))


def _dots(values: list[Any]) -> dict[str, Any]:
    """A short curve shows its points, and one of a single point can be seen at all."""
    return {"marker": "o" if len(values) <= _MAX_DOTS else "", "ms": 3, "lw": 1.3}
