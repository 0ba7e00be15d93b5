"""Metrics of a run: `metrics.jsonl` and TensorBoard."""

import json
import os
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from compad_jax.training.criteria import Criterion

_FILE = "metrics.jsonl"
_MOST_CURVES = 100  # Of a vector in TensorBoard; longer ones are in the file alone.


def read_metrics(workdir: str) -> list[dict[str, Any]]:
    """The logged lines, ascending in step; a line that was cut off is left out.

    A number that was not measured, as the loss of a depth without tokens, is None.
    """
    path = os.path.join(workdir, _FILE)
    if not os.path.exists(path):
        return []
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue
    return rows


class MetricsLogger:
    """Writes a line and TensorBoard scalars a logged step; use as a context manager."""

    def __init__(self, workdir: str, step: int) -> None:
        """Opens the logs; lines after `step`, where the run goes on, are dropped."""
        kept = [row for row in read_metrics(workdir) if row["step"] <= step]
        path = os.path.join(workdir, _FILE)
        with open(f"{path}.partial", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in kept)
        os.replace(f"{path}.partial", path)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed on exit.
        self._board = SummaryWriter(os.path.join(workdir, "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "MetricsLogger":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._board.close()

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Logs scalars and vectors (as lists) of one step; NaN, not measured, becomes null."""
        plain = {name: _plain(np.asarray(value)) for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step} | plain, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in plain.items():
            values = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, scalar in values:
                tag = name if index is None else f"{name}/{index:02d}"
                if scalar is not None and np.size(value) <= _MOST_CURVES:
                    self._board.add_scalar(tag, scalar, step)

    def write_criteria(self, step: int, criteria: list[Criterion]) -> None:
        """Shows in TensorBoard which criteria are met so far: 1 or 0."""
        _add_criteria(self._board, "criteria", step, criteria)


def log_evaluation(workdir: str, step: int, summary: dict[str, Any]) -> None:
    """Adds an evaluation to the run's TensorBoard: its headline, and the criteria."""
    place = f"evaluation/{summary['name']}"
    with SummaryWriter(os.path.join(workdir, "tensorboard")) as board:
        for name in ("mean_return", "fraction_of_optimum", "final_fraction_of_optimum"):
            if summary[name] is not None:
                board.add_scalar(f"{place}/{name}", summary[name], step)
        _add_criteria(board, f"{place}/criteria", step, summary["criteria"])


def _plain(x: np.ndarray) -> Any:
    """A number or nested lists of numbers; None for those that are not finite."""
    plain = x.astype(object)
    plain[~np.isfinite(x)] = None
    return plain.tolist()


def _add_criteria(board: SummaryWriter, place: str, step: int, criteria: list[Criterion]) -> None:
    for row in criteria:
        if row["passed"] is not None:
            name = row["name"].replace(",", "").replace(" ", "_")
            board.add_scalar(f"{place}/{name}", float(row["passed"]), step)
