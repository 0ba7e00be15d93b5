"""Table and figure of an experiment on waits: what is recalled, by how long the wait was."""

import os
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from compad_jax.backend.files import write_text
from compad_jax.config.command_line import load_config
from compad_jax.envs import make_env
from compad_jax.reports.figures import COLORS, GREY, draw_in_style, save_figure
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import ACTING
from experiments.bandit_teacher import teacher_regrets
from experiments.suites import Arm, Condition, Suite

Line = dict[str, Any]  # Of results.jsonl.


class Measure(NamedTuple):
    """What is shown of an evaluation."""

    key: str  # Of `summary.json`.
    label: str
    is_share: bool  # Shown in percent.


_DIRECT = Measure("direct_fraction", "share of the episodes that walk straight back", True)
_LATER = Measure("curve", "share of the optimum after the first episode", True)
_FIRST_PULL = Measure("decision_regret", "regret of the first pull after the wait", False)
_ALL_PULLS = Measure("recall_regret", "regret of all pulls after the wait", False)


def write(suite: Suite, lines: list[Line], directory: str) -> str:
    """Writes `table.md` and `figure.png` of the runs finished so far; returns the table."""
    rows = [(arm, [x for x in lines if x["arm"] == arm.name]) for arm in suite.arms]
    rows = [(arm, runs) for arm, runs in rows if runs]
    measures = _measures(suite, rows)
    tables = [f"{m.label}:\n\n{_table(suite, rows, m)}" for m in measures]
    if not measures[0].is_share:
        teacher = teacher_regrets(suite.config, suite.overrides)
        texts = [f"{teacher[m.key]:.2f} ({m.label})" for m in measures]
        tables.append(f"Their teacher, on the same tasks: {', '.join(texts)}.")
    runs = [run for _, lines in rows for run in lines]
    columns = "Columns: steps of the wait. Means, and lowest and highest training"
    text = "\n\n".join([*tables, f"{budget_of(suite, runs)} {columns}."]) + "\n"
    write_text(os.path.join(directory, "table.md"), text)
    with draw_in_style():
        save_figure(_draw(suite, rows, measures[0]), os.path.join(directory, "figure.png"))
    return text


def _measures(suite: Suite, rows: list[tuple[Arm, list[Line]]]) -> tuple[Measure, ...]:
    """In rooms the way to the first goal and, where there are more, what is earned."""
    if not _is_known(rows, _DIRECT):
        return _FIRST_PULL, _ALL_PULLS
    env = make_env(load_config(suite.config, suite.overrides).env)
    return (_DIRECT,) if getattr(env, "num_stages", 1) == 1 else (_DIRECT, _LATER)


def _value(summary: Line, measure: Measure) -> float | None:
    """What was measured, of a curve after the first episode; None if the environment is silent."""
    value: float | list[float] | None = summary[measure.key]
    return float(np.mean(value[1:])) if isinstance(value, list) else value


def _is_known(rows: list[tuple[Arm, list[Line]]], measure: Measure) -> bool:
    """Whether the environment tells what is measured."""
    conditions = (c for _, runs in rows for run in runs for c in run["conditions"].values())
    return any(_value(summary, measure) is not None for c in conditions for summary in c.values())


def _conditions(suite: Suite) -> list[Condition]:
    """The suite's and then those of single arms, one of each name."""
    every = (*suite.conditions, *(c for arm in suite.arms for c in arm.conditions))
    return list({condition.name: condition for condition in every}.values())


def _table(suite: Suite, rows: list[tuple[Arm, list[Line]]], measure: Measure) -> str:
    """A row an arm and a way to act."""
    records = []
    for arm, runs in rows:
        for selection, label in ACTING.items():
            record = {"memory": arm.label, "acting": label, "runs": str(len(runs))}
            for condition in _conditions(suite):
                values = [
                    _value(run["conditions"][condition.name][selection], measure)
                    for run in runs
                    if condition.name in run["conditions"]
                ]
                record[condition.name] = _show([x for x in values if x is not None], measure)
            records.append(record)
    return markdown_table(records)


def _show(values: list[float], measure: Measure) -> str:
    """The mean of the runs and, where there are more, the lowest and the highest."""
    if not values:
        return "-"
    digits = (lambda x: f"{100 * x:.0f}") if measure.is_share else (lambda x: f"{x:.2f}")
    low, mean, high = (digits(x) for x in (min(values), float(np.mean(values)), max(values)))
    return f"{mean} [{low}, {high}]" if len(values) > 1 else mean


def budget_of(suite: Suite, runs: list[Line]) -> str:
    """Two sentences on what every run cost and where it ran."""
    hours = sum(run["train_seconds"] + run["evaluate_seconds"] for run in runs) / 3600

    def each(key: str) -> str:
        return ", ".join(sorted({str(run[key]) for run in runs}))

    overrides = f" with {', '.join(suite.overrides)}" if suite.overrides else ""
    return (
        f"{suite.question} {suite.config}{overrides}; {suite.num_tokens / 1e6:g} million tokens a "
        f"training; training seeds {each('seed')}; {hours:.1f} hours on {each('hardware')}; commit "
        f"{each('commit')}."
    )


def _short(steps: int) -> str:
    """A tick's label: 100000 as 100k."""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if steps >= size:
            return f"{steps / size:g}{unit}"
    return str(steps)


def _draw(suite: Suite, rows: list[tuple[Arm, list[Line]]], measure: Measure) -> Figure:
    """A line an arm over the length of the wait, one panel a way to act."""
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    figure.suptitle(suite.question, x=0.01, ha="left", size=10.5, weight="bold")
    names = [condition.name for condition in _conditions(suite)]
    for axes, (selection, label) in zip(
        figure.subplots(1, 2, sharey=True), ACTING.items(), strict=True
    ):
        for index, (arm, runs) in enumerate(rows):
            color, style = COLORS[index % len(COLORS)], "-" if index < len(COLORS) else "--"
            known = [name for name in names if name in runs[0]["conditions"]]
            values = np.array(
                [[_value(r["conditions"][n][selection], measure) for n in known] for r in runs],
                float,
            )
            places = [names.index(name) for name in known]
            axes.plot(places, values.mean(0), style, color=color, marker="o", ms=4, label=arm.label)
            axes.fill_between(places, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
        axes.set_xticks(range(len(names)), [_short(int(name)) for name in names])
        axes.set_xlabel("Steps of the wait", color=GREY)
        axes.set_title(f"Acting: {label}", loc="left", size=9)
    axes = figure.axes[0]
    axes.set_ylabel(measure.label.capitalize())
    if measure.is_share:
        axes.set_ylim(-0.02, 1.02)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return figure
