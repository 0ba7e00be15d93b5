"""Run directories: of one training and one process, in 32 bits."""

import os
from pathlib import Path

import jax
import pytest

import compad_jax
from compad_jax.config.checks import ConfigError
from compad_jax.models import param_shapes
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.run_directory import check_workdir, claim_workdir, claimed
from tests.builders import make_model, override


@pytest.fixture
def run(tmp_path):
    return str(tmp_path / "run")


def test_it_is_owned_inside_only(debug_config, run):
    with claimed(debug_config, run), claimed(debug_config, run):
        assert sorted(os.listdir(run)) == ["config.json", "training.lock"]
    assert os.listdir(run) == ["config.json"]


def test_the_wrong_settings_do_not_even_lock(debug_config, run):
    claim_workdir(debug_config, run)
    other = override(debug_config, train={"seed": 7})
    with pytest.raises(ConfigError, match=r"train\.seed 0, now 7"), claimed(other, run):
        raise AssertionError("inside")
    assert os.listdir(run) == ["config.json"]


def test_an_empty_file_is_written_again_where_nothing_was_trained(debug_config, run):
    os.makedirs(run)
    config = Path(run) / "config.json"
    config.write_text("")
    claim_workdir(debug_config, run)
    assert check_workdir(debug_config, run) == debug_config
    config.write_text("")
    os.makedirs(os.path.join(run, "checkpoints", "40"))
    with pytest.raises(ConfigError, match=r"config\.json: is empty; bring back a copy"):
        claim_workdir(debug_config, run)
    assert config.read_text() == ""


def test_trainings_and_evaluations_refuse_64_bits(debug_config, run):
    for start in (claim_workdir, check_workdir):
        with jax.enable_x64(True), pytest.raises(ConfigError, match="jax_enable_x64"):
            start(debug_config, run)
    assert not os.path.exists(run)


def test_agents_act_in_a_program_of_64_bits(debug_config, run):
    claim_workdir(debug_config, run)
    with Checkpoints(run) as checkpoints:
        checkpoints.save(40, make_model(debug_config)[1], {"step": 40}, 0.0)
    param_shapes.cache_clear()
    with jax.enable_x64(True):
        agent = compad_jax.load(run)
    assert {str(x.dtype) for x in jax.tree.leaves(agent.params)} == {"float32"}
