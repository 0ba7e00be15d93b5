"""What an evaluation found: the numbers, their confidence intervals, the files."""

import csv
import json
import os
from typing import Any, NamedTuple

import numpy as np

from compad_jax.config.checks import ConfigError

_NUM_BOOTSTRAP = 2000
_SUMMARY = "summary.json"


class Returns(NamedTuple):
    """Outcome of an evaluation for one way of selecting actions."""

    returns: np.ndarray  # float [E, G, R], of each episode.
    optimum: np.ndarray  # float [G]


def summarise(outcome: Returns, tasks: np.ndarray) -> dict[str, Any]:
    """The numbers that judge an evaluation.

    Args:
        outcome: returns [E, G, R] and optimum [G].
        tasks: int [G, ...].

    Returns:
        Part of `summary.json`.
    """
    fraction = outcome.returns / outcome.optimum[:, None]
    tail = max(1, len(fraction) // 10)  # "Final" is the last tenth of the episodes.
    final = fraction[-tail:].mean(0)
    reached = fraction.mean((1, 2)) >= 0.9
    per_task = [
        {
            "task": task.tolist(),
            "optimum": float(outcome.optimum[i]),
            "mean_return": float(outcome.returns[:, i].mean()),
            "final_fraction_of_optimum": float(final[i].mean()),
        }
        for i, task in enumerate(tasks)
    ]
    return {
        "optimum_mean": float(outcome.optimum.mean()),
        "mean_return": float(outcome.returns.mean()),
        "fraction_of_optimum": float(fraction.mean()),
        "final_fraction_of_optimum": float(final.mean()),
        "final_fraction_ci95": [float(x) for x in bootstrap(final)],
        "per_task": per_task,
        "episodes_to_90_percent": int(reached.argmax()) + 1 if reached.any() else None,
    }


def bootstrap(values: np.ndarray) -> np.ndarray:
    """95% confidence interval of a mean over tasks x seeds.

    Tasks are drawn with replacement, then seeds within each task drawn: the seeds of a
    task resemble each other, so they must not count as independent.

    Args:
        values: float [..., G, R].

    Returns:
        Low and high, float [2, ...].
    """
    rng = np.random.default_rng(0)
    num_tasks, num_seeds = values.shape[-2:]
    task = rng.integers(num_tasks, size=(_NUM_BOOTSTRAP, num_tasks, 1))
    seed = rng.integers(num_seeds, size=(_NUM_BOOTSTRAP, num_tasks, num_seeds))
    means = np.stack([values[..., t, s].mean((-2, -1)) for t, s in zip(task, seed, strict=True)])
    return np.quantile(means, [0.025, 0.975], axis=0)


def write_curve(
    directory: str, outcome: Returns, source: np.ndarray, num_compressions: np.ndarray
) -> None:
    """Writes `curve.csv`, a line an episode."""
    fraction = outcome.returns / outcome.optimum[:, None]
    low, high = bootstrap(fraction)
    with open(os.path.join(directory, "curve.csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "episode",
                "fraction",
                "low",
                "high",
                "mean_return",
                "source_fraction",
                "num_compressions",
            ]
        )
        for i in range(len(fraction)):
            numbers = (fraction[i].mean(), low[i], high[i], outcome.returns[i].mean())
            own = f"{source[i]:.6f}" if i < len(source) else ""
            row = [i + 1, *(f"{x:.6f}" for x in numbers), own, int(num_compressions[i])]
            writer.writerow(row)


def claim(directory: str, summary: dict[str, Any]) -> None:
    """Makes the directory of an evaluation.

    Args:
        directory: may hold the same evaluation already.
        summary: what `summary.json` will say.

    Raises:
        ConfigError: a different evaluation is there.
    """
    path = os.path.join(directory, _SUMMARY)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = json.load(file)
        for key in ("step", "num_seeds", "config"):
            if old.get(key) != summary[key]:
                raise ConfigError(f"{directory}: holds another evaluation ({key}); move it away")
    os.makedirs(directory, exist_ok=True)


def write_summary(directory: str, summary: dict[str, Any]) -> None:
    """Writes `summary.json`."""
    with open(os.path.join(directory, _SUMMARY), "w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2)
        file.write("\n")
