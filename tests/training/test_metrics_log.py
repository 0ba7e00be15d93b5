"""Metrics on disk: lines and TensorBoard agree, also after an interruption."""

import json
import os
import time

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from compad_jax.config import Config
from compad_jax.reports.training_curve import training_curve
from compad_jax.training.criteria import training_criteria
from compad_jax.training.metrics_log import MetricsLogger, read_metrics


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path)


def _write(workdir, start, steps, offset=0.0):
    with MetricsLogger(workdir, start) as logger:
        for step in steps:
            logger.write(step, {"loss": np.float32(step / 8 + offset), "depth": np.arange(3.0)})


def _lines(workdir):
    with open(os.path.join(workdir, "metrics.jsonl"), encoding="utf-8") as file:
        return file.read().splitlines()


def test_round_trip(workdir):
    _write(workdir, 0, [10, 20])
    assert read_metrics(workdir) == [
        {"step": 10, "loss": 1.25, "depth": [0.0, 1.0, 2.0]},
        {"step": 20, "loss": 2.5, "depth": [0.0, 1.0, 2.0]},
    ]
    assert sorted(os.listdir(workdir)) == ["metrics.jsonl", "tensorboard"]


def test_nothing_logged(workdir):
    assert read_metrics(workdir) == []


def test_lines_are_on_disk_at_once(workdir):
    with MetricsLogger(workdir, 0) as logger:
        logger.write(5, {"loss": 1.0})
        assert read_metrics(workdir) == [{"step": 5, "loss": 1.0}]


def test_what_was_not_measured_is_null(workdir):
    with MetricsLogger(workdir, 0) as logger:
        depth = np.array([1.5, np.nan, 2.5], np.float32)
        logger.write(5, {"held_out_loss": float("nan"), "depth_nll": depth})
    assert _lines(workdir) == ['{"step": 5, "held_out_loss": null, "depth_nll": [1.5, null, 2.5]}']
    assert _scalars(workdir) == {"depth_nll/00": [(5, 1.5)], "depth_nll/02": [(5, 2.5)]}
    assert not training_criteria(read_metrics(workdir), Config(), 5)[0]["passed"]
    assert training_curve(read_metrics(workdir)) == []


def test_going_on_drops_later_lines(workdir):
    _write(workdir, 0, [10, 20, 30, 40])
    _write(workdir, 20, [30, 40], offset=0.5)
    rows = read_metrics(workdir)
    assert [(row["step"], row["loss"]) for row in rows] == [
        (10, 1.25),
        (20, 2.5),
        (30, 4.25),
        (40, 5.5),
    ]


def test_starting_anew_drops_all_lines(workdir):
    _write(workdir, 0, [10, 20])
    _write(workdir, 0, [10])
    assert [row["step"] for row in read_metrics(workdir)] == [10]


def test_a_line_that_was_cut_off_is_dropped(workdir):
    _write(workdir, 0, [10, 20])
    path = os.path.join(workdir, "metrics.jsonl")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text[:-15])
    assert [row["step"] for row in read_metrics(workdir)] == [10]
    _write(workdir, 10, [20, 30])  # Must not be glued to what is left of the line.
    assert [json.loads(line)["step"] for line in _lines(workdir)] == [10, 20, 30]


def _scalars(workdir):
    """{tag: [(step, value)]} as TensorBoard shows them."""
    events = EventAccumulator(os.path.join(workdir, "tensorboard"), purge_orphaned_data=True)
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_shows_the_same(workdir):
    _write(workdir, 0, [10, 20])
    assert _scalars(workdir) == {
        "loss": [(10, 1.25), (20, 2.5)],
        "depth/00": [(10, 0.0), (20, 0.0)],
        "depth/01": [(10, 1.0), (20, 1.0)],
        "depth/02": [(10, 2.0), (20, 2.0)],
    }


def test_tensorboard_forgets_what_is_logged_anew(workdir):
    _write(workdir, 0, [10, 20, 30, 40])
    time.sleep(1.1)  # Event files are named after the second.
    _write(workdir, 20, [30, 40], offset=0.5)
    assert _scalars(workdir)["loss"] == [(10, 1.25), (20, 2.5), (30, 4.25), (40, 5.5)]


def test_tensorboard_has_no_curve_for_each_of_very_many_depths(workdir):
    with MetricsLogger(workdir, 0) as logger:
        logger.write(1, {"loss": 1.0, "few": np.arange(100.0), "many": np.arange(101.0)})
    assert {tag.split("/")[0] for tag in _scalars(workdir)} == {"loss", "few"}
    assert len(read_metrics(workdir)[0]["many"]) == 101
