"""Agents that come with the package: made of a run, loaded and evaluated by name."""

import contextlib
import json
import os
import pathlib

import jax
import numpy as np
import pytest

import compad_jax
from compad_jax.config import ConfigError, shipped
from compad_jax.config.command_line import parse_arguments
from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.run_directory import claim_workdir
from experiments.ship import ship
from tests.builders import make_model, override
from tests.evaluation_files import check_summary

_ROOM = {"reward": "first_visit", "grid_size": 3, "horizon": 15, "max_wait": 20}


def _returns(directories):
    keys = ("mean_return", "direct_fraction", "decision_regret", "source_mean_return")
    for directory in directories:
        with open(os.path.join(directory, "summary.json"), encoding="utf-8") as file:
            summary = json.load(file)
        check_summary(summary)
        yield tuple(summary[key] for key in keys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the run and the agent of these tests are."""
    return tmp_path_factory.mktemp("shipped")


@pytest.fixture(scope="module")
def made(debug_config, folder):
    """Settings of a run that is as good as trained and evaluated; `small_room` is its agent."""
    config = override(
        debug_config,
        env=_ROOM,
        source={"name": "staged_search"},
        eval={"num_seeds": 2, "num_episodes": 4},  # As agents are shipped.
    )
    with contextlib.chdir(folder):
        claim_workdir(config, "run")
        with Checkpoints("run") as checkpoints:
            step = config.train.train_timesteps
            checkpoints.save(step, make_model(config)[1], {"step": step}, 0.0)
        evaluate(config, "run")
        ship("small_room", "run", "agents")
    return config


@pytest.fixture
def config(made, folder, monkeypatch):
    """Those settings, in that folder, whose agents are the package's."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(shipped, "_FOLDER", folder / "agents")
    return made


def test_a_shipped_agent_is_that_of_its_run(config):
    assert shipped.shipped_names() == ("small_room",)
    agent, original = compad_jax.load("small_room"), compad_jax.load("run")
    jax.tree.map(np.testing.assert_array_equal, agent.params, original.params)
    assert agent.policy == original.policy
    card = pathlib.Path("agents/small_room/card.md").read_text()
    assert "held-out tasks" in card
    assert "| greedy |" in card
    arguments = parse_arguments(["", "--checkpoint", "small_room"])
    assert (arguments.config, arguments.workdir) == (config, "runs/agents/small_room")
    by_name = evaluate(arguments.config, arguments.workdir, checkpoint="small_room")
    run = list(_returns(evaluate(config, "run")))
    assert [row[:3] for row in _returns(by_name)] == [row[:3] for row in run]
    assert [row[3] for row in _returns(by_name)] == [None, None]  # Nothing was collected for it.
    assert run[0][3] is not None


@pytest.mark.slow
def test_other_waits_are_evaluated_apart_and_against_the_same_source(config):
    again = override(config, env={"wait": 40})
    directories = evaluate(again, "run")
    names = [os.path.basename(x) for x in directories]
    assert names == ["held_out-greedy-4-wait=40", "held_out-sample-4-wait=40"]
    plain = list(_returns(evaluate(config, "run")))
    assert [row[3] for row in _returns(directories)] == [row[3] for row in plain]
    assert len(os.listdir("data")) == 1
    with pytest.raises(ConfigError, match=r"made with other settings \(env\.grid_size 3, now 4\)"):
        evaluate(override(config, env={"grid_size": 4}), "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "nobody"], "'nobody': no such agent or run; .* package: small_room$"),
        (["--checkpoint=small_room", "--config", "x.py"], "leave --config FILE out"),
        (["--checkpoint=small_room", "--config.env.hight=3"], "no such setting 'hight'"),
    ],
)
def test_mistakes_are_one_line(config, arguments, message):
    with pytest.raises(ConfigError, match=message):
        parse_arguments(["", *arguments])


def test_a_run_directory_needs_no_config_file(config):
    arguments = parse_arguments(["", "--checkpoint", "run", "--config.env.wait=5"])
    assert arguments.workdir == "run"
    assert (arguments.config.env.wait, arguments.config.env.grid_size) == (5, 3)


@pytest.mark.parametrize("name", shipped.shipped_names())
def test_every_agent_of_the_package_acts(name):
    folder = shipped.trained_directory(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000
    assert f"--checkpoint {name}" in (folder / "card.md").read_text(encoding="utf-8")
    agent = compad_jax.load(name, greedy=True)
    state, size = agent.init(3), agent.spec.obs_size
    action, _ = agent.step(state, np.zeros((3, size), agent.spec.obs_dtype))
    assert ((action >= 0) & (action < agent.spec.num_actions)).all()
