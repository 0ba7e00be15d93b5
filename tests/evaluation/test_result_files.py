"""The files of an evaluation."""

import csv
import os
import threading
import time

import numpy as np
import pytest

from compad_jax.config import ConfigError
from compad_jax.evaluation.result_files import (
    check_directory,
    replacing_evaluation,
    write_curve,
    write_summary,
)
from compad_jax.evaluation.statistics import Returns, Source

_SOURCE = Source(np.array([[[1.0], [3.0]], [[2.0], [2.0]]]), 2.0, 2.0)  # Two episodes.


def _rows(directory, optimum):
    returns = np.zeros((20, 2, 4))
    returns[2:, 0] = 10.0
    returns[:, 1] = 2.0
    lengths = np.broadcast_to(np.arange(1, 21)[:, None, None], (20, 2, 4))
    write_curve(str(directory), Returns(returns, optimum), _SOURCE, lengths, lengths - 1)
    with open(directory / "curve.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_curve_has_a_line_an_episode(tmp_path):
    rows = _rows(tmp_path, np.array([10.0, 4.0]))
    assert [int(row["episode"]) for row in rows] == list(range(1, 21))
    assert float(rows[0]["fraction"]) == 0.25
    assert float(rows[5]["fraction"]) == 0.75
    assert float(rows[5]["low"]) <= 0.75 <= float(rows[5]["high"])
    assert float(rows[5]["mean_return"]) == 6.0
    assert (float(rows[5]["return_low"]), float(rows[5]["return_high"])) == (2.0, 10.0)
    shares = [(1 / 10 + 3 / 4) / 2, (2 / 10 + 2 / 4) / 2]
    assert [float(row["source_fraction"]) for row in rows[:2]] == shares
    assert [row["source_return"] for row in rows[:3]] == ["2.000000", "2.000000", ""]
    assert (rows[7]["num_compressions"], rows[7]["mean_length"]) == ("7", "8.000000")


def test_what_is_not_known_is_an_empty_field(tmp_path):
    row = _rows(tmp_path, None)[5]
    assert [row[name] for name in ("fraction", "low", "high", "source_fraction")] == [""] * 4
    assert float(row["mean_return"]) == 6.0


def test_another_evaluation_is_not_replaced(tmp_path):
    directory = str(tmp_path)
    config = {"eval": {"num_seeds": 8, "checkpoint": "latest"}}
    check_directory(str(tmp_path / "new"), 5, config)
    write_summary(directory, {"step": 5, "config": config})
    check_directory(directory, 5, {"eval": {"num_seeds": 8, "checkpoint": "best"}})
    with pytest.raises(ConfigError, match=r"holds another evaluation \(step\)"):
        check_directory(directory, 6, config)
    with pytest.raises(ConfigError, match=r"holds another evaluation \(config\)"):
        check_directory(directory, 5, {"eval": {"num_seeds": 9, "checkpoint": "latest"}})


def test_of_two_evaluations_at_once_one_is_written(tmp_path):
    """Though both found the directory free when they began."""
    directory, outcome = str(tmp_path / "eval" / "held_out"), []

    def write_another():
        try:
            with replacing_evaluation(directory, 5, {"eval": {"num_seeds": 9}}):
                write_summary(directory, {"step": 5, "config": {"eval": {"num_seeds": 9}}})
        except ConfigError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=write_another)
    config = {"eval": {"num_seeds": 8}}
    with replacing_evaluation(directory, 5, config):
        thread.start()
        time.sleep(0.3)
        write_summary(directory, {"step": 5, "config": config})
    thread.join()
    assert outcome == [f"{directory}: holds another evaluation (config); move it away"]
    check_directory(directory, 5, config)
    assert os.listdir(tmp_path / "eval") == ["held_out"]


def test_no_file_holds_a_number_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_summary(str(tmp_path), {"mean_return": float("nan")})
