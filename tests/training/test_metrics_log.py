"""Metrics on disk: lines and TensorBoard agree, also after an interruption."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from compad_jax.config import Config, ConfigError
from compad_jax.reports.training_curve import training_curve
from compad_jax.training.criteria import training_criteria
from compad_jax.training.metrics_log import (
    MetricsLogger,
    log_evaluation,
    read_metrics,
    require_logged,
)


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


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b'{"step": 20, "loss": 1.0}\n'])
def test_a_log_that_lost_its_lines_is_refused_and_not_touched(workdir, content):
    _write(workdir, 0, [10, 20])
    require_logged(workdir, 10)
    path = Path(workdir) / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{path}: has no line of step 10, .*; put the file"):
        MetricsLogger(workdir, 10)
    assert path.read_bytes() == content


def test_a_log_that_was_deleted_is_missed_aloud(workdir, caplog):
    require_logged(workdir, 0)
    assert not caplog.messages
    _write(workdir, 10, [20])
    assert "is gone, and with it what was logged until step 10" in caplog.text
    assert [row["step"] for row in read_metrics(workdir)] == [20]


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


def _summary(name):
    criteria = [{"name": "a, b", "passed": True}, {"name": "c", "passed": None}]
    shares = {"fraction_of_optimum": 0.5, "final_fraction_of_optimum": None}
    return {"name": name, "mean_return": 2.0, "criteria": criteria, **shares}


def test_tensorboard_keeps_all_that_is_logged_within_a_second(workdir):
    _write(workdir, 0, [10])
    for name in ("greedy", "sample"):
        log_evaluation(workdir, 10, _summary(name))
    scalars = _scalars(workdir)
    assert scalars["loss"] == [(10, 1.25)]
    for name in ("greedy", "sample"):
        assert scalars[f"evaluation/{name}/mean_return"] == [(10, 2.0)]
        assert scalars[f"evaluation/{name}/fraction_of_optimum"] == [(10, 0.5)]
        assert scalars[f"evaluation/{name}/criteria/a_b"] == [(10, 1.0)]


@pytest.mark.parametrize("is_saved", [False, True])
def test_points_survive_a_kill(workdir, is_saved):
    code = """
import os, signal, sys
from compad_jax.training.metrics_log import MetricsLogger
logger = MetricsLogger(sys.argv[1], 0)
for step in range(1, 6):
    logger.write(step, {"loss": 1.5})
if len(sys.argv) > 2:
    logger.write_criteria(5, [{"name": "a", "passed": False}])
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code, workdir, *(["saved"] if is_saved else [])]
    assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == -9
    assert [step for step, _ in _scalars(workdir)["loss"]] == [1, 2, 3, 4, 5]
    assert _scalars(workdir).get("criteria/a") == ([(5, 0.0)] if is_saved else None)


_FOREIGN = [
    *(b"", b"3", b"{}", b"[]", b"null", b'"step"', b'{"step": 5.0}', b'{"step": true}'),
    *(b"\xff\xfe\x00", b'{"step": 5, "loss": "low"}', b'{"step": 5, "loss": {}}', b"[" * 9000),
]


@pytest.mark.parametrize("line", _FOREIGN)
def test_foreign_lines_are_left_out_with_one_warning(workdir, caplog, line):
    _write(workdir, 0, [10, 20])
    path = Path(workdir) / "metrics.jsonl"
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, line, second]) + b"\n")
    assert [row["step"] for row in read_metrics(workdir)] == [10, 20]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 2 lines are no metrics and left out, the first is line 2"
    ]
    _write(workdir, 10, [20])
    assert [json.loads(line)["step"] for line in _lines(workdir)] == [10, 20]


def test_an_earlier_versions_nan_was_not_measured(workdir):
    (Path(workdir) / "metrics.jsonl").write_text('{"step": 5, "loss": NaN}\n')
    assert read_metrics(workdir) == [{"step": 5, "loss": None}]


def test_tensorboard_forgets_what_is_logged_anew(workdir):
    _write(workdir, 0, [10, 20, 30, 40])
    _write(workdir, 20, [30, 40], offset=0.5)
    assert _scalars(workdir)["loss"] == [(10, 1.25), (20, 2.5), (30, 4.25), (40, 5.5)]


def test_tensorboard_has_no_curve_for_each_of_very_many_depths(workdir):
    with MetricsLogger(workdir, 0) as logger:
        logger.write(1, {"loss": 1.0, "few": np.arange(100.0), "many": np.arange(101.0)})
    assert {tag.split("/")[0] for tag in _scalars(workdir)} == {"loss", "few"}
    assert len(read_metrics(workdir)[0]["many"]) == 101
