"""Finished evaluations on disk, and which of them can be compared."""

import glob
import itertools
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from compad_jax.backend import files
from compad_jax.config.checks import ConfigError, require
from compad_jax.reports.figures import Evaluation
from compad_jax.reports.wording import ACTING, TASKS, Summary

_SHARED = ("env", "split", "num_episodes", "num_tasks", "horizon")  # By comparable evaluations.
_ADVICE = "move it away and evaluate again"
_NUMBER = (int, float)
_OPTIONAL = (int, float, type(None))
_FIELDS: dict[str, Any] = {  # Of every summary, as far as reports need them.
    **dict.fromkeys(("run", "method", "env", "source", "split", "action_selection"), str),
    **dict.fromkeys(("step", "horizon", "num_tasks", "num_seeds", "num_episodes"), int),
    **dict.fromkeys(("num_compressions", "max_compress_length"), int),
    **dict.fromkeys(("mean_return", "env_steps_per_second"), _NUMBER),
    **dict.fromkeys(("fraction_of_optimum", "random_fraction_of_optimum"), _OPTIONAL),
    **dict.fromkeys(("optimum_mean", "random_mean_return"), _OPTIONAL),
    **dict.fromkeys(("per_task", "criteria"), list),
    "config": dict,
}
_IN_SHARES: dict[str, Any] = {  # Where the optimum is known.
    "final_fraction_of_optimum": _NUMBER,
    "final_fraction_ci95": list,
    "episodes_to_90_percent": _OPTIONAL,
}
_IN_RETURNS: dict[str, Any] = {
    "final_mean_return": _NUMBER,
    "final_mean_return_ci95": list,
    "final_share_of_source_return": _OPTIONAL,
}
_CRITERION: dict[str, Any] = {
    **dict.fromkeys(("name", "target"), str),
    **dict.fromkeys(("value", "floor"), _OPTIONAL),
    **dict.fromkeys(("passed", "possible"), (bool, type(None))),
}
_COLUMNS = {
    *("episode", "num_compressions", "fraction", "low", "high", "source_fraction"),
    *("mean_return", "return_low", "return_high", "source_return"),
}


def load(directory: str) -> Evaluation:
    """Reads `summary.json` and `curve.csv` of one evaluation.

    Raises:
        ConfigError: no readable evaluation is there.
    """
    try:
        return _read_summary(os.path.join(directory, "summary.json")), _read_curve(directory)
    except OSError as error:
        raise ConfigError(f"{directory}: no readable evaluation ({error})") from error


def _read_summary(path: str) -> Summary:
    """A summary with all that reports need."""
    summary = files.read_json(path, _ADVICE, _FIELDS)
    in_shares = summary["fraction_of_optimum"] is not None
    files.require_fields(path, summary, _IN_SHARES if in_shares else _IN_RETURNS, _ADVICE)
    for name, fields in (("criteria", _CRITERION), ("per_task", {})):
        for number, row in enumerate(summary[name]):
            files.require_fields(f"{path}, {name}[{number}]", row, fields, _ADVICE)
    name = "final_fraction_ci95" if in_shares else "final_mean_return_ci95"
    is_pair = [type(x) in (int, float) for x in summary[name]] == [True, True]
    require(is_pair, f"{path}: {name!r} is not two numbers; {_ADVICE}")
    for name, words in (("split", TASKS), ("action_selection", ACTING)):
        require(summary[name] in words, f"{path}: {name} {summary[name]!r} is unknown; {_ADVICE}")
    return summary


def _read_curve(directory: str) -> np.ndarray:
    """The columns of `curve.csv`, NaN where a field is empty."""
    path = os.path.join(directory, "curve.csv")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # An empty file is an error, see below.
            curve = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{path}: is not a table of numbers; {_ADVICE}") from error
    missing = sorted(_COLUMNS - {*(curve.dtype.names or ())})
    require(not missing, f"{path}: lacks the columns {', '.join(missing)}; {_ADVICE}")
    is_whole = len(curve) > 0 and np.isfinite(curve["episode"]).all()
    require(bool(is_whole), f"{path}: has no episodes, or lines that are none; {_ADVICE}")
    return curve


def load_run(run: str) -> list[Evaluation]:
    """Reads all finished evaluations of a run directory, by their names, with its timing.

    Raises:
        ConfigError: there is none.
    """
    paths = sorted(glob.glob(os.path.join(glob.escape(run), "eval", "*", "summary.json")))
    if not paths:
        raise ConfigError(f"{run}: no finished evaluation; run eval_main.py first")
    evaluations = [load(os.path.dirname(path)) for path in paths]
    timing = os.path.join(run, "timing.json")
    if os.path.exists(timing):
        fields: dict[str, Any] = {"seconds": dict, "total_seconds": _NUMBER}
        seconds = files.read_json(timing, "move it away", fields)
        evaluations = [(summary | {"timing": seconds}, curve) for summary, curve in evaluations]
    return evaluations


def comparable(runs: dict[str, list[Evaluation]]) -> list[Evaluation]:
    """Finds what can stand in one figure, among the evaluations of each run directory.

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
