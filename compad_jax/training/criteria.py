"""The original system's success criteria, each with its target, its value and the verdict.

They name steps of a run of 100,000. The half-way and final goals are judged half-way
through a run and at its end, whatever its length; what has to happen "by step N" is judged
at the last logged step that is not beyond N.
"""

import math
from typing import Any

import numpy as np

from compad_jax.config import Config

Criterion = dict[str, Any]  # name, target, value, passed, floor, possible.

_MOVING_BY, _ACCURATE_BY = 2_000, 10_000  # Steps.
_MOVED = 0.95  # Share of the uniform loss below which a loss counts as moving.


def original_criteria(
    metrics: list[dict[str, Any]], returns: np.ndarray, config: Config, num_actions: int
) -> list[Criterion]:
    """Judges a finished run by all criteria: logged lines in order, and returns, float [E, G, R].

    Returns:
        Rows of name, target, value (None: not measured), passed and, for losses, the floor
        that the data allow and whether that makes the target possible at all.
    """
    return training_criteria(metrics, config, num_actions) + return_criteria(returns, config)


def training_criteria(
    metrics: list[dict[str, Any]], config: Config, num_actions: int
) -> list[Criterion]:
    """Judges a training, also one under way: what was not reached yet has no value.

    Test losses are those on held-out tasks. Arguments and rows as in `original_criteria`.
    """
    steps = config.train.train_timesteps
    reached = metrics[-1]["step"] if metrics else 0
    half = _nearest(metrics, steps // 2) if reached >= steps // 2 else {}
    last = _nearest(metrics, steps) if reached >= steps else {}
    uniform = math.log(num_actions)
    moving, accurate = (_last_until(metrics, step) for step in (_MOVING_BY, _ACCURATE_BY))
    return [
        _loss("train loss moves by step 2,000", _MOVED * uniform, moving, "loss"),
        _accuracy("train accuracy by step 10,000", 0.4, accurate, "accuracy"),
        _loss("train loss, halfway", 0.8, half, "loss"),
        _accuracy("train accuracy, halfway", 0.5, half, "accuracy"),
        _loss("test loss, halfway", 1.0, half, "held_out_loss"),
        _accuracy("test accuracy, halfway", 0.4, half, "held_out_accuracy"),
        _loss("train loss, end", 0.5, last, "loss"),
        _accuracy("train accuracy, end", 0.5, last, "accuracy"),
        _loss("test loss, end", 1.0, last, "held_out_loss"),
        _accuracy("test accuracy, end", 0.4, last, "held_out_accuracy"),
    ]


def return_criteria(returns: np.ndarray, config: Config) -> list[Criterion]:
    """Judges an evaluation, float [E, G, R]; standard AD has to reach more."""
    mean_of_tasks = returns.mean((0, 2))
    reward = 2.0 if config.model.remembers else 3.0
    share = float((mean_of_tasks > 1.0).mean())
    return [
        _row("mean evaluation reward", ">", reward, float(returns.mean())),
        _row("share of goals with reward above 1", ">=", 5 / 8, share),
    ]


def _nearest(metrics: list[dict[str, Any]], step: int) -> dict[str, Any]:
    """The line that has held-out losses and is nearest to a step; {} if there is none."""
    measured = [row for row in metrics if row.get("held_out_loss") is not None]
    return min(measured, key=lambda row: abs(row["step"] - step), default={})


def _last_until(metrics: list[dict[str, Any]], step: int) -> dict[str, Any]:
    """The last line not beyond a step; {} if there is none."""
    early = [row for row in metrics if row["step"] <= step]
    return early[-1] if early else {}


def _loss(name: str, target: float, line: dict[str, Any], metric: str) -> Criterion:
    return _row(name, "<", target, line.get(metric), line.get(metric.replace("loss", "floor")))


def _accuracy(name: str, target: float, line: dict[str, Any], metric: str) -> Criterion:
    return _row(name, ">", target, line.get(metric))


def _row(
    name: str, relation: str, target: float, value: float | None, floor: float | None = None
) -> Criterion:
    passed = None
    if value is not None:
        passed = {"<": value < target, ">": value > target, ">=": value >= target}[relation]
    possible = None if floor is None else floor < target
    return {
        "name": name,
        "target": f"{relation} {target:.4g}",
        "value": value,
        "passed": passed,
        "floor": floor,
        "possible": possible,
    }
