"""The best checkpoint is chosen by validation tasks, by their return where it is measured."""

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.histories.dataset import make_datasets
from compad_jax.histories.sampler import make_sampler
from compad_jax.training import validation
from compad_jax.training.loop import train
from compad_jax.training.metrics_log import read_metrics
from compad_jax.training.restore import restore_policy
from compad_jax.training.validation import make_validation, score
from compad_jax.types import History, Transition
from tests.builders import override


def test_the_return_decides_where_it_was_measured():
    losses = {"validation_loss": 1.5, "held_out_loss": 0.1, "loss": 0.2}
    assert score(losses) == -1.5
    returns = {"validation_return_greedy": 0.2, "validation_return_sample": 0.3}
    assert score(losses | returns) == 0.3
    assert math.isnan(score({"loss": 0.2, "held_out_loss": 0.1}))


def test_losses_are_measured_on_the_part_that_they_are_named_after(debug_config, monkeypatch):
    """Observations tell the task; instead of a loss, the tasks of a batch are measured."""
    tasks = {
        "train": np.arange(20),
        "validation": np.array([20, 21]),
        "held_out": np.arange(22, 25),
    }
    shape = (25, 2, debug_config.source.num_steps)
    number = np.broadcast_to(np.arange(25)[:, None, None], shape)
    zeros = np.zeros(shape, np.float32)
    obs = np.stack([number // 5, number % 5], -1)
    history = History(Transition(obs, 0 * number, zeros, obs, zeros > 0), None)
    datasets = make_datasets(history, tasks, lambda x: x[..., 0])

    def measure(params, segments):
        seen = segments.tokens.obs[segments.mask] @ np.array([5, 1])
        return {"tasks": set(np.asarray(seen).tolist())}

    monkeypatch.setattr(validation, "make_measure", lambda policy, smoothing, num_parts: measure)
    sample = make_sampler(debug_config)
    validate = make_validation(debug_config, None, sample, datasets, jax.random.key(0))
    assert validate(None) == {
        "validation_tasks": {20, 21},
        "held_out_tasks": {22, 23, 24},
    }


def test_what_is_null_in_the_log_was_not_measured():
    assert score({"validation_loss": 1.5, "validation_return_greedy": None}) == -1.5
    assert score({"validation_loss": 1.5, "validation_return_greedy": math.nan}) == -1.5
    assert math.isnan(score({"validation_loss": None}))


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
    _, step, _ = restore_policy(config, "run", "best")  # Every measured step was saved.
    assert score(next(row for row in rows if row["step"] == step)) == max(map(score, rows))
