"""The files of an evaluation: `summary.json` and `curve.csv`."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from compad_jax.backend import files
from compad_jax.backend.ownership import owned
from compad_jax.config.checks import ConfigError
from compad_jax.evaluation.statistics import Returns, Source, bootstrap, fractions

_SUMMARY = "summary.json"
_ADVICE = "move it away and evaluate again"


@contextlib.contextmanager
def replacing_evaluation(directory: str, step: int, config: dict[str, Any]) -> Iterator[None]:
    """Makes a directory for the files of an evaluation; others that want it wait meanwhile.

    Arguments and errors are those of `check_directory`, which is called once nobody else writes.
    """
    os.makedirs(os.path.dirname(directory) or os.curdir, exist_ok=True)
    with owned(f"{directory}.lock", directory, wait=True):
        check_directory(directory, step, config)
        os.makedirs(directory, exist_ok=True)
        yield


def check_directory(directory: str, step: int, config: dict[str, Any]) -> None:
    """Refuses a directory, which need not exist, that another evaluation would be written into.

    Which checkpoint the settings ask for does not matter: `step` says it.

    Raises:
        ConfigError: a different evaluation, or an unreadable one, is there.
    """
    path = os.path.join(directory, _SUMMARY)
    if not os.path.exists(path):
        return
    old = files.read_json(path, _ADVICE, {"step": int, "config": dict})
    files.require_fields(f"{path}, config", old["config"], {"eval": dict}, _ADVICE)
    asked, found = (
        {**values, "eval": {**values["eval"], "checkpoint": None}}
        for values in (config, old["config"])
    )
    for name, is_same in (("step", old["step"] == step), ("config", asked == found)):
        if not is_same:
            raise ConfigError(f"{directory}: holds another evaluation ({name}); move it away")


def write_curve(
    directory: str,
    outcome: Returns,
    source: Source,
    lengths: np.ndarray,
    compressions: np.ndarray,
    more: dict[str, np.ndarray] | None = None,
) -> None:
    """Writes `curve.csv`, a line an episode; a field is empty where nothing is known.

    Lengths, in steps, and compressions, done by the end of each episode, are int [E, G, R]; `more`
    has further columns by name, float [E, G, R], whose means are written.
    """
    shares = fractions(outcome.returns, outcome.optimum)
    source_shares = fractions(source.curve, outcome.optimum)
    columns = {
        **_columns(shares, "fraction", "low", "high"),
        **_columns(outcome.returns, "mean_return", "return_low", "return_high"),
        "source_fraction": _means(source_shares),
        "source_return": _means(source.curve),
        "mean_length": _means(lengths),
        "num_compressions": [f"{x:g}" for x in np.floor(compressions.mean((1, 2)))],
        **{name: _means(values) for name, values in (more or {}).items()},
    }
    rows = [
        [i + 1, *(column[i] if i < len(column) else "" for column in columns.values())]
        for i in range(len(outcome.returns))
    ]
    files.write_csv(os.path.join(directory, "curve.csv"), ["episode", *columns], rows)


def write_summary(directory: str, summary: dict[str, Any]) -> None:
    """Writes `summary.json`."""
    files.write_json(os.path.join(directory, _SUMMARY), summary)


def _columns(values: np.ndarray | None, *names: str) -> dict[str, list[str]]:
    """Mean, low and high of each episode, [E, G, R]; empty where there are no values."""
    if values is None:
        return {name: [] for name in names}
    low, high = bootstrap(values)
    return dict(zip(names, (_means(values), _texts(low), _texts(high)), strict=True))


def _means(values: np.ndarray | None) -> list[str]:
    return [] if values is None else _texts(values.mean((1, 2)))


def _texts(values: np.ndarray) -> list[str]:
    return [f"{x:.6f}" for x in values]
