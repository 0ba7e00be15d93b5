"""Finished evaluations on disk, and which of them can be compared."""

import glob
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from compad_jax.config.checks import ConfigError
from compad_jax.reports.figures import Evaluation
from compad_jax.reports.wording import Summary

_SHARED = ("env", "split", "num_episodes", "num_tasks", "horizon")  # By comparable evaluations.


def load(directory: str) -> Evaluation:
    """Reads one evaluation.

    Args:
        directory: holds `summary.json` and `curve.csv`.

    Returns:
        Both.

    Raises:
        ConfigError: no readable evaluation is there.
    """
    try:
        with open(os.path.join(directory, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
        path = os.path.join(directory, "curve.csv")
        return summary, np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{directory}: no readable evaluation ({error})") from error


def load_run(run: str) -> list[Evaluation]:
    """Reads all finished evaluations of a run, with its timing.

    Args:
        run: the run directory.

    Returns:
        The evaluations, in the order of their names.

    Raises:
        ConfigError: there is none.
    """
    paths = sorted(glob.glob(os.path.join(glob.escape(run), "eval", "*", "summary.json")))
    if not paths:
        raise ConfigError(f"{run}: no finished evaluation; run eval_main.py first")
    evaluations = [load(os.path.dirname(path)) for path in paths]
    timing = os.path.join(run, "timing.json")
    if os.path.exists(timing):
        with open(timing, encoding="utf-8") as file:
            seconds = json.load(file)
        evaluations = [(summary | {"timing": seconds}, curve) for summary, curve in evaluations]
    return evaluations


def comparable(runs: dict[str, list[Evaluation]]) -> list[Evaluation]:
    """Finds what can stand in one figure.

    Args:
        runs: the evaluations of each run directory.

    Returns:
        Those of one kind that all runs share, each named by its run, and by its step too where
        a run has several; of held-out tasks before others, then the longest.

    Raises:
        ConfigError: two runs share no kind.
    """
    kinds = {
        run: {tuple(summary[name] for name in _SHARED) for summary, _ in evaluations}
        for run, evaluations in runs.items()
    }
    first, *_ = runs
    shared = kinds[first]
    for run in runs:
        if not shared & kinds[run]:
            raise ConfigError(f"{first} and {run} differ: {_difference(shared, kinds[run])}")
        shared = shared & kinds[run]
    chosen = max(shared, key=lambda kind: (kind[1] == "held_out", kind[2]))
    parent = os.path.commonpath([os.path.dirname(os.path.abspath(run)) for run in runs])
    return [
        ({**summary, "run": name}, curve)
        for run, evaluations in runs.items()
        for summary, curve, name in _named(os.path.relpath(run, parent), evaluations, chosen)
    ]


def _named(
    run: str, evaluations: list[Evaluation], kind: tuple[Any, ...]
) -> Iterator[tuple[Summary, np.ndarray, str]]:
    """The evaluations of a kind, with a name for each checkpoint."""
    chosen = [e for e in evaluations if tuple(e[0][name] for name in _SHARED) == kind]
    several = len({summary["step"] for summary, _ in chosen}) > 1
    for summary, curve in chosen:
        yield summary, curve, f"{run}, step {summary['step']}" if several else run


def _difference(left: set[tuple[Any, ...]], right: set[tuple[Any, ...]]) -> str:
    """What keeps the two most similar kinds apart."""
    pairs = (zip(_SHARED, a, b, strict=True) for a, b in itertools.product(left, right))
    texts = ([f"{name} {x} and {y}" for name, x, y in pair if x != y] for pair in pairs)
    fewest = min(texts, key=lambda text: (len(text), text))
    return ", ".join(fewest)
