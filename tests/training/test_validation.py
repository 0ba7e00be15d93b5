"""The best checkpoint is chosen by validation tasks, by their return where it is measured."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.training.loop import train
from compad_jax.training.metrics_log import read_metrics
from compad_jax.training.restore import restore_policy
from compad_jax.training.validation import _mean_fractions, score
from tests.builders import override


def test_the_return_decides_where_it_was_measured():
    losses = {"validation_loss": 1.5, "held_out_loss": 0.1, "loss": 0.2}
    assert score(losses) == -1.5
    returns = {"validation_return_greedy": 0.2, "validation_return_sample": 0.3}
    assert score(losses | returns) == 0.3
    assert math.isnan(score({"loss": 0.2, "held_out_loss": 0.1}))


def test_what_is_null_in_the_log_was_not_measured():
    assert score({"validation_loss": 1.5, "validation_return_greedy": None}) == -1.5
    assert score({"validation_loss": 1.5, "validation_return_greedy": math.nan}) == -1.5
    assert math.isnan(score({"validation_loss": None}))


def test_tasks_in_which_nothing_can_be_earned_are_left_out():
    returns = np.array([[[[1.0, 2.0], [0.0, 0.0], [4.0, 4.0]]]])  # [1, E, G, R].
    fractions = _mean_fractions(returns, np.array([2.0, 0.0, 8.0]))
    np.testing.assert_allclose(fractions, [(0.75 + 0.5) / 2])
    assert np.isnan(_mean_fractions(returns, np.zeros(3))).all()


@pytest.mark.timeout(300)
def test_validation_returns_are_those_of_an_evaluation(debug_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = override(
        debug_config,
        train={"validation_episodes": 4},
        eval={"split": "validation", "num_episodes": 4},
    )
    train(config, "run")
    rows = [row for row in read_metrics("run") if "validation_loss" in row]
    assert len(rows) == 4
    for directory in evaluate(config, "run"):
        summary = json.loads((Path(directory) / "summary.json").read_text())
        measured = rows[-1][f"validation_return_{summary['action_selection']}"]
        assert summary["fraction_of_optimum"] == pytest.approx(measured)
    saved = [row for row in rows if row["step"] % config.train.checkpoint_every == 0]
    best = max(saved, key=lambda row: (score(row), row["step"]))
    _, step, _ = restore_policy(config, "run", "best")
    assert score(next(row for row in saved if row["step"] == step)) == score(best)
