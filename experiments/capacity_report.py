"""Table and figure of the experiment on goals and latents."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from compad_jax.reports.figures import COLORS, GREY
from experiments.ablation_report import Estimate, Line, final_of, loss_above_floor, write_with
from experiments.suites import Arm, Suite


def write(suite: Suite, lines: list[Line], directory: str) -> str:
    """Writes `table.md` and `figure.png` of the runs finished so far; returns the table."""
    return write_with(_draw, suite, lines, directory)


def _draw(suite: Suite, rows: list[tuple[Arm, list[Line]]]) -> Figure:
    """A line a number of goals over the number of latents: loss, and return acting by sampling."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    figure.suptitle(suite.question, x=0.01, ha="left", size=10.5, weight="bold")
    left, right = figure.subplots(1, 2)
    runs: dict[int, dict[int, list[Line]]] = {}
    for arm, of_arm in rows:
        num_goals, num_latents = map(int, arm.name.split("_")[1::2])
        runs.setdefault(num_goals, {})[num_latents] = of_arm
    for color, (goals, by_latents) in zip(COLORS, sorted(runs.items()), strict=False):
        label = "one goal" if goals == 1 else f"{goals} goals"
        latents = sorted(by_latents)
        losses = [loss_above_floor(by_latents[n]) for n in latents]
        left.plot(latents, losses, "-o", color=color, ms=4, label=label)
        finals = [final_of(by_latents[n], "sample") for n in latents]
        _plot_estimates(right, latents, finals, color)
    left.set_ylabel("Held-out loss above its floor, nats")
    right.set_ylabel("Share of the optimum, sampled, last tenth")
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1.04)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("Latents", color=GREY)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper")
    return figure


def _plot_estimates(axes: Axes, places: list[int], values: list[Estimate], color: str) -> None:
    """Means with their intervals."""
    means, lows, highs = (np.array(x) for x in zip(*values, strict=True))
    axes.errorbar(places, means, (means - lows, highs - means), fmt="-o", color=color, ms=4)
