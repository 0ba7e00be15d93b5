"""Table and figure of an experiment."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from compad_jax.backend.files import write_text
from compad_jax.evaluation.statistics import bootstrap
from compad_jax.reports.figures import COLORS, GREY, INK, draw_in_style, save_figure
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import percent
from experiments.suites import Arm, Suite

Line = dict[str, Any]  # Of results.jsonl.
Draw = Callable[[Suite, list[tuple[Arm, list[Line]]]], Figure]
_ALL_EPISODES = "fraction_of_optimum"


class Estimate(NamedTuple):
    """A mean over goals and trainings, with its 95% confidence interval."""

    mean: float
    low: float
    high: float


def write(suite: Suite, lines: list[Line], directory: str) -> str:
    """Writes `table.md` and `figure.png` of the runs finished so far; returns the table."""
    return write_with(_draw, suite, lines, directory)


def write_with(draw: Draw, suite: Suite, lines: list[Line], directory: str) -> str:
    """The same with a figure of one's own."""
    rows = [(arm, [x for x in lines if x["arm"] == arm.name]) for arm in suite.arms]
    rows = [(arm, runs) for arm, runs in rows if runs]
    table = format_table(suite, rows)
    write_text(os.path.join(directory, "table.md"), table)
    with draw_in_style():
        save_figure(draw(suite, rows), os.path.join(directory, "figure.png"))
    return table


def format_table(suite: Suite, rows: list[tuple[Arm, list[Line]]]) -> str:
    """Markdown: what was changed, how far the loss is from its floor, what the agent earns."""
    records = []
    for arm, runs in rows:
        sampled = final_of(runs, "sample")
        interval = f"[{percent(sampled.low)}, {percent(sampled.high)}]"
        records.append(
            {
                "changed": arm.label,
                "runs": len(runs),
                "parameters": f"{runs[0]['num_parameters']:,}",
                "train loss": f"{_mean(runs, 'train', 'loss'):.3f}",
                "floor": f"{_mean(runs, 'train', 'floor'):.3f}",
                "held-out loss above its floor": f"{loss_above_floor(runs):+.3f}",
                "accuracy": f"{_mean(runs, 'held_out', 'accuracy'):.2f}",
                "sampled, last tenth [95% CI]": f"{percent(sampled.mean)}% {interval}",
                "sampled, all episodes": f"{percent(_mean(runs, 'sample', _ALL_EPISODES))}%",
                "greedy, last tenth": f"{percent(final_of(runs, 'greedy').mean)}%",
            }
        )
    return f"{markdown_table(records)}\n\n{_budget(suite, rows)}\n"


def final_of(runs: list[Line], selection: str) -> Estimate:
    """Return of the last tenth of the episodes, as a share of the optimum."""
    values = [
        [goal["final_fraction_of_optimum"] for goal in run[selection]["per_task"]] for run in runs
    ]
    by_goal = np.array(values).T
    low, high = bootstrap(by_goal)
    return Estimate(float(by_goal.mean()), float(low), float(high))


def loss_above_floor(runs: list[Line]) -> float:
    """Mean loss of held-out histories, in nats, less what no policy can go below."""
    return _mean(runs, "held_out", "loss") - _mean(runs, "held_out", "floor")


def _mean(runs: list[Line], group: str, name: str) -> float:
    return float(np.mean([run[group][name] for run in runs]))


def _budget(suite: Suite, rows: list[tuple[Arm, list[Line]]]) -> str:
    """One sentence on what every run cost and where it ran."""
    runs = [run for _, lines in rows for run in lines]
    hardware = sorted({run["hardware"] for run in runs})
    commits = sorted({str(run["commit"]) for run in runs})
    hours = sum(run["train_seconds"] + run["evaluate_seconds"] for run in runs) / 3600
    tokens = f"{suite.num_tokens / 1e6:g} million targets a training"
    settings = ", ".join(suite.overrides)
    seeds = sorted({run["seed"] for run in runs})
    return (
        f"{suite.question} {suite.config} with {settings}; {tokens}; training seeds "
        f"{', '.join(map(str, seeds))}; {hours:.1f} hours on {'; '.join(hardware)}; "
        f"commit {', '.join(commits)}. Intervals: bootstrap over goals, then trainings."
    )


def _draw(suite: Suite, rows: list[tuple[Arm, list[Line]]]) -> Figure:
    """Two panels, a line an arm: distance of the loss from its floor, and the return."""
    figure = Figure(figsize=(9, 1.4 + 0.35 * len(rows)), layout="constrained")
    figure.suptitle(suite.question, x=0.01, ha="left", size=10.5, weight="bold")
    left, right = figure.subplots(1, 2, sharey=True)
    for y, (_, runs) in enumerate(rows):
        train = [(run["train"]["floor"], run["train"]["loss"]) for run in runs]
        floor, loss = np.mean(train, axis=0)
        left.plot([floor, loss], [y, y], color=COLORS[0], lw=1)
        left.plot(floor, y, "|", color=INK, ms=10)
        left.plot([value for _, value in train], [y] * len(train), "o", color=COLORS[0], ms=4)
        final = final_of(runs, "sample")
        right.plot([final.low, final.high], [y, y], color=COLORS[1], lw=1)
        right.plot(final.mean, y, "o", color=COLORS[1], ms=5)
    left.set_yticks(range(len(rows)), [arm.label for arm, _ in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)  # The first on top.
    left.axvline(np.log(5), color=GREY, lw=0.8, ls=":")
    left.set_xlabel("Train loss, nats\nbar: its floor; dotted: ln 5")
    right.set(
        xlim=(0, 1),
        xlabel="Sampled return, last tenth of the episodes\nshare of the optimum [95% CI]",
    )
    return figure
