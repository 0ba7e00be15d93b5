"""How a training went: the loss beside its floor, and what the policy earns on validation tasks."""

import os
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from compad_jax.backend.files import write_csv
from compad_jax.reports.figures import COLORS, GREY, draw_in_style, save_figure
from compad_jax.training.metrics_log import Board, read_metrics
from compad_jax.training.validation import PLAIN_RETURNS, RETURNS, score

_ABOVE_FLOOR = {  # Column: logged loss and floor.
    "train_above_floor": ("loss", "floor"),
    "validation_above_floor": ("validation_loss", "validation_floor"),
    "held_out_above_floor": ("held_out_loss", "held_out_floor"),
}
_LABELS = {
    "train_above_floor": "training tasks",
    "validation_above_floor": "validation tasks",
    "held_out_above_floor": "held-out tasks",
    "validation_return_greedy": "greedy",
    "validation_return_sample": "sampled",
    "validation_mean_return_greedy": "greedy",
    "validation_mean_return_sample": "sampled",
}


def write_training_curve(workdir: str) -> None:
    """Writes `training_curve.csv` and `training_curve.png` of a run into its directory.

    A row is a step at which the validation tasks were measured: losses in nats above their
    floors; returns as fractions of the optimum, where they were measured, or plainly where no
    optimum is known. TensorBoard shows the picture, too.
    """
    metrics = read_metrics(workdir)
    rows = training_curve(metrics)
    if not rows:
        return
    path = os.path.join(workdir, "training_curve")
    columns = list(rows[0])
    write_csv(f"{path}.csv", columns, [[row.get(name) for name in columns] for row in rows])
    with draw_in_style():
        has_floors = any(line.get("validation_floor") is not None for line in metrics)
        save_figure(_draw(rows, has_floors), f"{path}.png")
    with Board(workdir) as board:
        board.add_png("training_curve", f"{path}.png", rows[-1]["step"])


def training_curve(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Columns `step`, losses above their floors and returns, of the logged lines that have them.

    A value is None where it was not measured.
    """
    rows = []
    for line in metrics:
        if line.get("validation_loss") is None:
            continue
        row = {"step": line["step"]}
        row |= {name: _difference(line, *pair) for name, pair in _ABOVE_FLOOR.items()}
        row |= {name: line[name] for name in (*RETURNS, *PLAIN_RETURNS) if name in line}
        rows.append({name: None if x is None else round(x, 5) for name, x in row.items()})
    return rows


def _difference(line: dict[str, Any], loss: str, floor: str) -> float | None:
    """A loss above its floor; above 0 where no floor is known, None without the loss."""
    high, low = line.get(loss), line.get(floor)
    return None if high is None else high - (low or 0.0)


def _draw(rows: list[dict[str, Any]], has_floors: bool) -> Figure:
    returns = [name for name in (*RETURNS, *PLAIN_RETURNS) if name in rows[0]]
    figure = Figure(figsize=(8, 3.6) if returns else (4.5, 3.6), layout="constrained")
    panels = figure.subplots(1, 2 if returns else 1, squeeze=False)[0]
    _draw_columns(panels[0], rows, list(_ABOVE_FLOOR))
    label = "Loss above its floor, nats" if has_floors else "Loss, nats; no floor is known"
    panels[0].set(ylabel=label, yscale="log")
    panels[0].yaxis.set_minor_formatter("{x:.2g}")
    panels[0].yaxis.set_major_formatter("{x:.2g}")
    if returns:
        _draw_columns(panels[1], rows, returns)
        if returns[0] in RETURNS:
            panels[1].set(ylabel="Return on validation tasks, of optimum", ylim=(0, 1))
            panels[1].yaxis.set_major_formatter(PercentFormatter(1))
        else:
            panels[1].set(ylabel="Return of an episode on validation tasks")
        best = max(rows, key=score)
        panels[1].axvline(best["step"], color=GREY, lw=0.8, ls=":", label="best")
        panels[1].legend()
    return figure


def _draw_columns(axes: Axes, rows: list[dict[str, Any]], names: list[str]) -> None:
    """One line a column over the steps."""
    steps = [row["step"] for row in rows]
    for name, color in zip(names, COLORS, strict=False):
        values = np.array([row[name] for row in rows], float)  # None: a gap.
        axes.plot(steps, values, "o-", ms=3, color=color, label=_LABELS[name])
    axes.set_xlabel("Training step")
    axes.legend()
