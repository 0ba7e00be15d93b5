"""Figures of evaluations.

Built on `matplotlib.figure.Figure`, which renders PNG files by itself: no backend is
chosen and no global state changes when this module is imported.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from compad_jax.backend.files import replacing
from compad_jax.reports.wording import (
    ACTING,
    Summary,
    count,
    final_of,
    in_shares,
    place_of,
    shorten,
    title_of,
)

Evaluation = tuple[Summary, np.ndarray]  # With curve.csv: a float a column, NaN if empty.

# Okabe and Ito (2008): told apart with every common colour vision. References are grey.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, GREY = "#333333", "#707070"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # A run name may hold a dollar sign.
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "savefig.dpi": 150,
}
_LOG_FROM = 50  # Episodes beyond which a linear axis hides the first ten.
_MAX_TICKS = 60  # Compressions drawn one by one; more would be a bar.


def draw_in_style() -> AbstractContextManager[None]:
    """Within it, figures look like all others of the project."""
    return matplotlib.rc_context(_STYLE)


def save_learning_curve(evaluation: Evaluation, path: str) -> None:
    """Draws one policy beside its source, the optimum and the random agent, as a PNG file."""
    with draw_in_style():
        save_figure(_learning_curve(*evaluation), path)


def save_comparison(evaluations: Sequence[Evaluation], path: str) -> None:
    """Draws comparable evaluations as a PNG file: a panel an action selection, a line a run."""
    with draw_in_style():
        save_figure(_comparison(evaluations), path)


def save_figure(figure: Figure, path: str) -> None:
    """Writes a PNG file, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _learning_curve(summary: Summary, curve: np.ndarray) -> Figure:
    figure = Figure(figsize=(8, 4.5))
    axes = figure.add_axes((0.085, 0.115, 0.885, 0.67))
    _prepare(axes, summary, len(curve))
    _draw_policy(axes, summary, curve, COLORS[0], summary["method"])
    _draw_references(axes, summary, curve)
    _mark_compressions(axes, summary, curve)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=5, columnspacing=1.3)
    title = figure.text(0.015, 0.94, title_of(summary), size=10.5, weight="bold")
    share = title.get_window_extent().width / figure.bbox.width
    title.set_fontsize(10.5 * min(1, 0.965 / share))
    seeds = count(summary["num_seeds"], "seed")
    text = f"{place_of(summary)} \u00d7 {seeds}, 95% band; title: the last tenth of the episodes"
    figure.text(0.015, 0.89, text, color=GREY)
    return figure


def _comparison(evaluations: Sequence[Evaluation]) -> Figure:
    runs = list(dict.fromkeys(summary["run"] for summary, _ in evaluations))
    selections = sorted({summary["action_selection"] for summary, _ in evaluations})
    size = (1 + 4.75 * len(selections), 5 + 0.2 * len(runs))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(place_of(evaluations[0][0]), x=0.01, ha="left", size=10.5, weight="bold")
    panels = figure.subplots(1, len(selections), sharey=True, squeeze=False)[0]
    for axes, selection in zip(panels, selections, strict=True):
        shown = [e for e in evaluations if e[0]["action_selection"] == selection]
        _prepare(axes, shown[0][0], len(shown[0][1]))
        for summary, curve in shown:
            index = runs.index(summary["run"])
            label = f"{shorten(summary['run'], 36)}, {summary['method']}: {final_of(summary)}"
            # Later lines are thinner: of two equal curves both remain visible.
            width = 1.2 + 0.7 * min(2, len(runs) - 1 - index)
            _draw_policy(axes, summary, curve, COLORS[index % len(COLORS)], label, width)
        for summary, curve in shown:
            _draw_references(axes, summary, curve)
        axes.set_title(f"Acting: {ACTING[selection]}", loc="left", size=9)
        legend = axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.13), alignment="left")
        legend.set_title("Last tenth of the episodes [95% CI]")
        axes.label_outer()
    return figure


class _Height(NamedTuple):
    """Which columns and keys are drawn over the episodes."""

    label: str
    columns: tuple[str, str, str]  # Mean, low and high.
    source: str
    random: str


_SHARES = _Height(
    "Return, share of the optimum",
    ("fraction", "low", "high"),
    "source_fraction",
    "random_fraction_of_optimum",
)
_RETURNS = _Height(
    "Return of an episode",
    ("mean_return", "return_low", "return_high"),
    "source_return",
    "random_mean_return",
)


def _height_of(summary: Summary) -> _Height:
    return _SHARES if in_shares(summary) else _RETURNS


def _prepare(axes: Axes, summary: Summary, num_episodes: int) -> None:
    """Sets scales, limits and ticks."""
    axes.set(xlim=(0.5, num_episodes + 0.5), xlabel="Episode", ylabel=_height_of(summary).label)
    if in_shares(summary):
        axes.set(ylim=(-0.08, 1.05), yticks=np.linspace(0, 1, 5))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        axes.margins(y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if num_episodes == 1:
        axes.set(xticks=[1])
    if num_episodes > _LOG_FROM:
        axes.set(xscale="log", xlim=(0.95, num_episodes), xlabel="Episode, logarithmic")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_locator(NullLocator())


def _draw_policy(
    axes: Axes, summary: Summary, curve: np.ndarray, color: str, label: str, width: float = 1.6
) -> None:
    """Mean and band; the line is thinner where a thousand episodes stand close together."""
    mean, low, high = (curve[name] for name in _height_of(summary).columns)
    x, low, high = _widen(curve["episode"], low, high, half=0.2)
    axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    width *= 0.6 if len(x) > 500 else 1
    marker = "o" if len(mean) == 1 else ""
    axes.plot(curve["episode"], mean, marker=marker, color=color, lw=width, label=label)


def _draw_references(axes: Axes, summary: Summary, curve: np.ndarray) -> None:
    """Source, optimum and random agent, unless a line of that name is drawn already."""
    height, level = _height_of(summary), np.ones(len(curve))
    optimum = 1.0 if in_shares(summary) else summary["optimum_mean"]
    lines: list[tuple[str, np.ndarray, dict[str, Any]]] = [
        (f"source, {summary['source']}", curve[height.source], {"c": INK, "ls": "--"}),
        ("optimum", level * _number(optimum), {"c": GREY, "lw": 0.8, "zorder": 1.5}),
        ("random agent", level * _number(summary[height.random]), {"c": GREY, "ls": ":"}),
    ]
    drawn = {line.get_label() for line in axes.lines}
    for label, y, style in lines:
        if label not in drawn and np.isfinite(y).any():
            x, y = _widen(curve["episode"], y, half=0.5)
            axes.plot(x, y, label=label, **{"lw": 1.2, **style})


def _widen(x: np.ndarray, *ys: np.ndarray, half: float) -> list[np.ndarray]:
    """A single point as a level line, which can be seen; more points as they are."""
    if len(x) > 1:
        return [x, *ys]
    return [x + np.array([-half, half]), *(np.repeat(y, 2) for y in ys)]


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _mark_compressions(axes: Axes, summary: Summary, curve: np.ndarray) -> None:
    """Ticks at the bottom, or a line of text where ticks would merge."""
    total = summary["num_compressions"]
    episodes = curve["episode"][np.diff(curve["num_compressions"], prepend=0) > 0]
    if 0 < total <= _MAX_TICKS and len(curve) > 1:
        label, bottom = count(total, "compression"), np.full(len(episodes), 0.03)
        place = axes.get_xaxis_transform()
        axes.plot(episodes, bottom, "|", color=GREY, label=label, transform=place)
    elif total:
        text = f"one compression every {summary['max_compress_length']} steps, {total:,} in all"
        axes.text(0.01, 0.015, text, color=GREY, transform=axes.transAxes)
