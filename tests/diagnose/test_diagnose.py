"""The diagnosis as a user runs it, before and after a training."""

import json
import os
import re

import numpy as np
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import parse_arguments
from compad_jax.diagnose import measure as program
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks
from compad_jax.training.loop import train
from compad_jax.training.setup import Builders
from experiments.faults import sample_starts_only


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Relative paths (stores, runs) land in a temporary folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config_path(request):
    return str(request.config.rootpath / "configs" / "debug.py")


def _run(monkeypatch, arguments, config_path):
    """The program as a user runs it, in this process, whose devices are set already."""
    monkeypatch.setattr(program.process, "configure", lambda batch_size: None)
    program.main(parse_arguments(["", "--config", config_path, "--workdir", "run", *arguments]))
    with open("run/diagnosis/diagnosis.json", encoding="utf-8") as file:
        return json.load(file)


@pytest.fixture
def diagnosed_tasks(monkeypatch):
    """Receives the tasks of each dataset that windows are drawn from."""
    tasks = []
    draw = program.draw_windows

    def draw_and_note(sample, dataset, *args, **kwargs):
        tasks.append(set(np.unique(dataset.task).tolist()))
        return draw(sample, dataset, *args, **kwargs)

    monkeypatch.setattr(program, "draw_windows", draw_and_note)
    return tasks


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_program_before_and_after_training(
    debug_config, config_path, elsewhere, diagnosed_tasks, monkeypatch, capsys
):
    split = split_tasks(make_env(debug_config.env).num_tasks, debug_config.env)
    before = _run(monkeypatch, [], config_path)
    _check_before(before, capsys.readouterr().out)
    assert diagnosed_tasks == [set(split.train)]
    train(debug_config, "run")
    diagnosed_tasks.clear()
    after = _run(monkeypatch, [], config_path)
    for name in ("source", "sampling", "loss"):
        assert after[name] == before[name], name
    _check_after(after["run"])
    assert diagnosed_tasks == [set(split.train), set(split.held_out)]
    assert len(after["verdicts"]) == len(before["verdicts"]) + 4
    output = capsys.readouterr().out
    assert "run after 40 steps" in output
    assert re.search(r"^[!-] the memory ", output, re.MULTILINE)
    with pytest.raises(ConfigError, match=r"optimizer\.lr 0\.001, now 0\.5"):
        _run(monkeypatch, ["--config.optimizer.lr=0.5"], config_path)


def _check_before(facts, output):
    assert os.listdir("run") == ["diagnosis"]  # The run may still be made with any settings.
    assert set(os.listdir("run/diagnosis")) == {"diagnosis.json", "diagnosis.png"}
    assert facts["run"] is None
    assert len(facts["source"]["fraction_of_optimum"]) == 6
    assert len(facts["source"]["entropy"]) == 60
    assert sum(facts["sampling"]["targets_by_depth"]) == pytest.approx(1, abs=1e-4)
    assert facts["sampling"]["last_target"] == 1
    assert facts["loss"]["floor"] < facts["loss"]["uniform"]
    assert "run: before training" in output
    assert "targets come from all parts of the histories" in output
    for verdict in facts["verdicts"]:
        assert verdict["text"] in output


def _check_after(run):
    assert run["step"] == 40
    assert set(run["gradient_norm"]) == {"embedding", "decoder", "memory"}
    for part in ("train", "held_out"):
        losses = run[part]
        assert losses["floor"] < losses["loss"] < 2.5
        assert len(losses["by_depth"]["loss"]) == 3
        assert len(losses["by_position"]["loss"]) == 12
        assert losses["memory"]["num_targets"] > 100


@pytest.mark.timeout(300)
def test_another_sampling_can_be_diagnosed(debug_config, elsewhere):
    facts = program.diagnose(debug_config, "run", Builders(make_sampler=sample_starts_only))
    assert facts["sampling"]["last_target"] <= 32 / 60
    assert any("only from the first" in verdict["text"] for verdict in facts["verdicts"])
