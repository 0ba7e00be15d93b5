"""Evaluations of trained runs: what they refuse, where they go, and that code counts."""

import dataclasses
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import ConfigError
from compad_jax.envs import make_env, register_env
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.evaluation import evaluate_run
from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.run_directory import claim_workdir
from experiments.faults import make_hasty_policy
from tests.builders import make_model, override
from tests.evaluation_files import check_summary


def _untrained(config, workdir, scores):
    """A run directory with checkpoints of random parameters: {step: score}."""
    claim_workdir(config, workdir)
    with Checkpoints(workdir) as checkpoints:
        for step, score in scores.items():
            _, params = make_model(config, seed=step)
            checkpoints.save(step, params, {"step": step}, score)


def _summaries(directories):
    for directory in directories:
        with open(os.path.join(directory, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
        check_summary(summary)
        yield summary


@pytest.fixture
def config(debug_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"num_seeds": 1, "num_episodes": 4}
    return override(debug_config, eval=sizes, optimizer={"label_smoothing": 0.0})


def test_checkpoints_do_not_share_a_directory(config):
    _untrained(config, "run", {20: 1.0, 40: 0.0})
    latest = evaluate(config, "run")
    best = evaluate(override(config, eval={"checkpoint": "best"}), "run")
    assert [os.path.basename(x) for x in latest] == ["held_out-greedy-4", "held_out-sample-4"]
    assert [os.path.basename(x) for x in best] == [
        "held_out-greedy-4-step-20",
        "held_out-sample-4-step-20",
    ]
    assert [x["step"] for x in _summaries(latest + best)] == [40, 40, 20, 20]


def test_an_evaluation_beside_a_training_leaves_its_save_alone(config):
    _untrained(config, "run", {40: 0.0})
    save = "run/checkpoints/50.orbax-checkpoint-tmp/params"
    os.makedirs(save)
    evaluate(config, "run")
    assert os.path.isdir(save)


def test_an_interrupted_run_that_was_evaluated_can_be_finished(config):
    _untrained(config, "run", {20: 0.0})
    early = evaluate(config, "run")
    _untrained(config, "run", {40: 0.0})
    for _ in range(2):
        late = evaluate(config, "run")
    assert [x["step"] for x in _summaries(early + late)] == [20, 20, 40, 40]


def test_what_may_not_be_written_is_not_played(config, monkeypatch):
    _untrained(config, "run", {40: 0.0})
    first = evaluate(config, "run")
    before = list(_summaries(first))

    def play(*_):
        raise AssertionError("played")

    monkeypatch.setattr(evaluate_run, "make_episodes", play)
    with pytest.raises(ConfigError, match="holds another evaluation"):
        evaluate(override(config, eval={"num_seeds": 2}), "run")
    assert list(_summaries(first)) == before


def test_two_policies_of_equal_settings_are_each_evaluated_as_what_they_are(config, tmp_path):
    returns = []
    for run, make in (("a", evaluate_run.make_policy), ("b", make_hasty_policy), ("c", None)):
        _untrained(config, run, {40: 0.0})
        make = make or evaluate_run.make_policy
        summaries = list(_summaries(evaluate(config, run, make)))
        returns.append([(s["num_compressions"], s["per_task"]) for s in summaries])
    assert returns[0] == returns[2]
    assert returns[0] != returns[1]


@dataclasses.dataclass(frozen=True)
class _Paid(DarkRoom):
    """Pays `pay` a step wherever one is."""

    pay: float = 1.0

    def step(self, key, env_state, action, task):
        cell, obs, _, terminal = super().step(key, env_state, action, task)
        return cell, obs, jnp.float32(self.pay), terminal


def test_an_environment_registered_anew_is_played_as_it_is_now(config):
    config = override(config, env={"name": "paid"})
    means = []
    for pay in (1.0, 2.0):
        register_env("paid", lambda settings, pay=pay: _Paid(settings.grid_size, 10, pay=pay))
        run = f"run_{pay}"
        _untrained(config, run, {40: 0.0})
        means += [s["mean_return"] for s in _summaries(evaluate(config, run))]
    assert means == [10.0, 10.0, 20.0, 20.0]


class _Bare:
    """Dark Room without tables: its optimum is not known."""

    def __init__(self, env):
        self.spec, self.num_tasks = env.spec, env.num_tasks
        self.task, self.reset, self.step = env.task, env.reset, env.step


def test_an_environment_without_optimum_shows_plain_returns(config):
    register_env("bare", lambda settings: _Bare(DarkRoom(settings.grid_size, settings.horizon)))
    config = override(config, env={"name": "bare"}, source={"name": "ppo"})
    _untrained(config, "run", {40: 0.0})
    for summary in _summaries(evaluate(config, "run")):
        assert summary["optimum_mean"] is None and summary["fraction_of_optimum"] is None
        assert summary["random_mean_return"] is None
        assert np.isfinite(summary["mean_return"]) and np.isfinite(summary["source_mean_return"])


def test_goals_out_of_reach_do_not_divide(config):
    """Nobody tells an own environment that its tasks may pay nothing."""
    register_env("far_room", lambda c: DarkRoom(c.grid_size, c.horizon, start=c.start))
    far = {"name": "far_room", "start": "corner", "horizon": 4, "train_env_ratio": 0.5}
    config = override(config, env=far)
    _untrained(config, "run", {40: 0.0})
    for summary in _summaries(evaluate(config, "run")):
        optima = [task["optimum"] for task in summary["per_task"]]
        assert summary["num_tasks_without_share"] == optima.count(0.0) > 0
        assert np.isfinite(summary["fraction_of_optimum"])
    assert make_env(config.env).spec.horizon == 4
