"""The seed's success criteria, each with its target, its value and the verdict."""

from typing import Any

import numpy as np

from compad_jax.config import Config


def seed_criteria(
    metrics: list[dict[str, Any]], returns: np.ndarray, config: Config
) -> list[dict[str, Any]]:
    """Judges a run by the criteria of the seed.

    The seed names steps of a run of 100,000; here they are the halfway and the last step.
    Test losses are those on held-out tasks.

    Args:
        metrics: logged lines of the training.
        returns: float [E, G, R], of the evaluation.
        config: all settings.

    Returns:
        Rows of name, target, value (None: not measured), passed and, for losses, the floor.
    """
    half = _nearest(metrics, config.train.train_timesteps // 2)
    last = _nearest(metrics, config.train.train_timesteps)
    mean_of_tasks = returns.mean((0, 2))
    return [
        _row("train loss, halfway", "<", 0.8, half.get("loss"), half.get("floor")),
        _row("train accuracy, halfway", ">", 0.5, half.get("accuracy")),
        _row("test loss, halfway", "<", 1.0, half.get("held_out_loss"), half.get("held_out_floor")),
        _row("test accuracy, halfway", ">", 0.4, half.get("held_out_accuracy")),
        _row("train loss, end", "<", 0.5, last.get("loss"), last.get("floor")),
        _row("mean evaluation reward", ">", 2.0, float(returns.mean())),
        _row(
            "share of goals with reward above 1",
            ">=",
            5 / 8,
            float((mean_of_tasks > 1.0).mean()),
        ),
    ]


def _nearest(metrics: list[dict[str, Any]], step: int) -> dict[str, Any]:
    """The line that has held-out losses and is nearest to a step; {} if there is none."""
    measured = [row for row in metrics if "held_out_loss" in row]
    return min(measured, key=lambda row: abs(row["step"] - step), default={})


def _row(
    name: str, relation: str, target: float, value: float | None, floor: float | None = None
) -> dict[str, Any]:
    passed = None
    if value is not None:
        passed = {"<": value < target, ">": value > target, ">=": value >= target}[relation]
    shown = f"{relation} {target:g}"
    return {"name": name, "target": shown, "value": value, "passed": passed, "floor": floor}
