"""Metrics of a run: `metrics.jsonl` and TensorBoard."""

import json
import logging
import os
import struct
import time
from typing import Any

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import scalar as scalar_summary
from tensorboardX.summary import text as text_summary

from compad_jax.backend import files, processes
from compad_jax.config.checks import require
from compad_jax.training.criteria import Criterion

_FILE = "metrics.jsonl"
_MOST_CURVES = 100  # Of a vector in TensorBoard; longer ones are in the file alone.


def read_metrics(workdir: str) -> list[dict[str, Any]]:
    """The logged lines, ascending in step.

    A last line that was cut off is left out; so are lines that were never logged, with a warning.
    A number that was not measured, as the loss of a depth without tokens, is None.
    """
    path = os.path.join(workdir, _FILE)
    if not os.path.exists(path):
        return []
    with files.naming(path), open(path, "rb") as file:
        *whole, cut_off = file.read().split(b"\n")
    rows = [_parse(line) for line in whole]
    numbers = [number for number, row in enumerate(rows, start=1) if row is None]
    if numbers:
        logging.warning(
            "%s: %d lines are no metrics and left out, the first is line %d",
            path,
            len(numbers),
            numbers[0],
        )
    return [row for row in (*rows, _parse(cut_off)) if row is not None]


def require_logged(workdir: str, step: int) -> None:
    """Makes sure that what was logged until a checkpoint is still there: a line before every one.

    Raises:
        ConfigError: the file is there without the line of this step.
    """
    path = os.path.join(workdir, _FILE)
    if not os.path.exists(path):
        if step:
            logging.warning("%s: is gone, and with it what was logged until step %d", path, step)
        return
    require(
        not step or any(row["step"] == step for row in read_metrics(workdir)),
        f"{path}: has no line of step {step}, which a checkpoint has; put the file back, or delete "
        "it to go on without what was logged",
    )


def _parse(line: bytes) -> dict[str, Any] | None:
    """A logged line; None if it is none."""
    try:
        row = files.parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    return row if all(map(_is_metric, row.values())) else None


def _is_metric(value: Any) -> bool:
    """A number, None or nested lists of them."""
    if isinstance(value, list):
        return all(map(_is_metric, value))
    return value is None or isinstance(value, int | float)


class MetricsLogger:
    """Writes a line and TensorBoard scalars a logged step; use as a context manager."""

    def __init__(self, workdir: str, step: int) -> None:
        """Opens the logs; lines after `step`, where the run goes on, are dropped.

        Raises:
            ConfigError: lines until `step` were lost.
        """
        require_logged(workdir, step)
        kept = [row for row in read_metrics(workdir) if row["step"] <= step]
        self._path = os.path.join(workdir, _FILE)
        files.write_text(self._path, "".join(json.dumps(row) + "\n" for row in kept))
        self._board = Board(workdir, purge_step=step + 1)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 - closed on exit.

    def __enter__(self) -> "MetricsLogger":
        return self

    def __exit__(self, *_: object) -> None:
        with files.naming(self._path):
            self._file.close()
        self._board.close()

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Logs scalars and vectors (as lists) of one step; NaN, not measured, becomes null."""
        plain = {name: _plain(np.asarray(value)) for name, value in metrics.items()}
        with files.naming(self._path):
            self._file.write(json.dumps({"step": step} | plain, allow_nan=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())  # A checkpoint that outlives the machine finds its line.
        for name, value in plain.items():
            values = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, scalar in values:
                tag = name if index is None else f"{name}/{index:02d}"
                if scalar is not None and np.size(value) <= _MOST_CURVES:
                    self._board.add(tag, scalar, step)
        self._board.flush()

    def write_criteria(self, step: int, criteria: list[Criterion]) -> None:
        """Shows in TensorBoard which criteria are met so far: 1 or 0."""
        _add_criteria(self._board, "criteria", step, criteria)
        self._board.flush()


class Board:
    """A TensorBoard event file, written by this thread; closed as a context manager.

    tensorboardX's `SummaryWriter` hands events to another thread, which flushes every two
    minutes, and names its file after the second, so that the second of two evaluations, or a
    training that goes on at once, replaces the file before.
    """

    def __init__(self, workdir: str, purge_step: int | None = None) -> None:
        """Opens a file of its own; steps from `purge_step` on in earlier ones count no more."""
        folder = os.path.join(workdir, "tensorboard")
        os.makedirs(folder, exist_ok=True)
        # Later files sort behind earlier ones of the same second: they are read in that order.
        suffix = f".{time.time_ns()}.{os.getpid()}"
        self._events = EventsWriter(os.path.join(folder, "events"), suffix)
        if purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(step=purge_step, session_log=start)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, tag: str, value: float, step: int) -> None:
        """Adds a point."""
        self._write(step=step, summary=scalar_summary(tag, value))

    def add_text(self, tag: str, markdown: str, step: int) -> None:
        """Adds a text in Markdown."""
        self._write(step=step, summary=text_summary(tag, markdown))

    def add_png(self, tag: str, path: str, step: int) -> None:
        """Adds a picture: the bytes of a PNG file as they are."""
        png = files.read_bytes(path)
        width, height = struct.unpack(">II", png[16:24])  # Of the header, which comes first.
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        self._write(step=step, summary=Summary(value=[Summary.Value(tag=tag, image=image)]))

    def _write(self, **fields: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), **fields))

    def flush(self) -> None:
        """Hands all points to the operating system: they survive the end of this process."""
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self._events.close()


class _NoLogger(MetricsLogger):
    """Leaves the logs to process 0."""

    def __init__(self) -> None:
        """Opens nothing."""

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Writes nothing."""


def open_logger(workdir: str, step: int) -> MetricsLogger:
    """The logs of a run that goes on at `step`; only process 0 writes them."""
    return MetricsLogger(workdir, step) if processes.is_primary() else _NoLogger()


def log_evaluation(workdir: str, step: int, summary: dict[str, Any]) -> None:
    """Adds an evaluation to the run's TensorBoard: its headline, and the criteria."""
    place = f"evaluation/{summary['name']}"
    with Board(workdir) as board:
        for name in ("mean_return", "fraction_of_optimum", "final_fraction_of_optimum"):
            if summary[name] is not None:
                board.add(f"{place}/{name}", summary[name], step)
        _add_criteria(board, f"{place}/criteria", step, summary["criteria"])


def _plain(x: np.ndarray) -> Any:
    """A number or nested lists of numbers; None for those that are not finite."""
    plain = x.astype(object)
    plain[~np.isfinite(x)] = None
    return plain.tolist()


def _add_criteria(board: Board, place: str, step: int, criteria: list[Criterion]) -> None:
    for row in criteria:
        if row["passed"] is not None:
            name = row["name"].replace(",", "").replace(" ", "_")
            board.add(f"{place}/{name}", float(row["passed"]), step)
