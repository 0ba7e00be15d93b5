"""Training, for real and with steps that do nothing: what is kept, resumed and refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import load_json, save_json
from compad_jax.config.checks import ConfigError
from compad_jax.histories.collection import load_histories, make_learner, program_hash
from compad_jax.histories.store import Origin, store_settings
from compad_jax.histories.store_writer import write_store
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.data import load_datasets
from compad_jax.training.loop import train
from compad_jax.training.metrics_log import read_metrics
from compad_jax.training.restore import restore_policy
from compad_jax.training.run_directory import claim_workdir
from compad_jax.training.signals import Interrupted
from tests.builders import make_model, override


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Relative paths (stores, runs) land in a temporary folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def idle_steps(monkeypatch):
    """Steps that change nothing, but may be told what to make of the parameters."""
    change = {}

    def make_idle_steps(policy, optimizer, sample, config, mesh):
        names = ("loss", "floor", "accuracy", "num_tokens", "grad_norm")

        def idle_steps(state, dataset, key):
            step = state.step + config.train.log_every
            where = step == change.get("step", -1)
            params = jax.tree.map(
                lambda x: jnp.where(where, change.get("to", 0.0), x), state.params
            )
            return state._replace(step=step, params=params), dict.fromkeys(names, jnp.ones(()))

        return jax.jit(idle_steps)

    monkeypatch.setattr("compad_jax.training.setup.make_train_steps", make_idle_steps)
    return change


@pytest.mark.timeout(300)
def test_the_best_is_the_best_that_was_measured(debug_config, elsewhere, idle_steps, monkeypatch):
    """Also where no checkpoint is due at the steps of the validation."""
    losses = iter([0.3, 0.9, 0.5])
    monkeypatch.setattr(
        "compad_jax.training.loop.make_validation",
        lambda *_: lambda params: {"validation_loss": next(losses)},
    )
    config = override(debug_config, train={"eval_every": 15, "checkpoint_every": 10})
    train(config, "run")
    measured = [row["step"] for row in read_metrics("run") if "validation_loss" in row]
    assert measured == [15, 30, 40]
    assert restore_policy(config, "run", "best")[1] == 15


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "when", "step"),
    [
        (signal.SIGINT, "validates", 15),  # It is saved with what was measured.
        (signal.SIGTERM, "saves", 40),  # Not even the last save lets a signal go by.
    ],
)
def test_a_signal_is_never_swallowed(
    debug_config, elsewhere, idle_steps, monkeypatch, number, when, step
):
    def raise_signal(event, at):
        if (event, at) == (when, step):
            os.kill(os.getpid(), number)

    class Saves(Checkpoints):
        def save(self, at, *arguments):
            super().save(at, *arguments)
            raise_signal("saves", at)

    def validate(params):
        raise_signal("validates", 15)
        return {"validation_loss": 0.5}

    monkeypatch.setattr("compad_jax.training.loop.Checkpoints", Saves)
    monkeypatch.setattr("compad_jax.training.loop.make_validation", lambda *_: validate)
    config = override(debug_config, train={"eval_every": 15, "checkpoint_every": 40})
    with pytest.raises(Interrupted, match=f"stopped at step {step}; all is saved") as stopped:
        train(config, "run")
    assert stopped.value.exit_code == 128 + number
    assert restore_policy(config, "run")[1] == step
    assert read_metrics("run")[-1]["validation_loss"] == 0.5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("to", [float("nan"), float("inf"), 1e36])
def test_a_diverged_state_is_not_saved(debug_config, elsewhere, idle_steps, to):
    """Although the loss, which is of the parameters before, is finite. 1e36 is as good as lost."""
    idle_steps |= {"step": 30, "to": to}
    config = override(debug_config, train={"checkpoint_every": 10, "eval_every": 40})
    for _ in range(2):  # Nor is there a way on.
        with pytest.raises(FloatingPointError, match="a parameter is not finite at step 30; try"):
            train(config, "run")
        assert restore_policy(config, "run")[1] == 20


@pytest.mark.timeout(300)
def test_a_diverged_training_goes_on_with_a_gentler_optimiser(
    debug_config, elsewhere, idle_steps, capsys
):
    """In the same directory, from its last checkpoint; but no other setting may change."""
    train_settings = {"checkpoint_every": 10, "eval_every": 40, "train_timesteps": 40}
    config = override(debug_config, train=train_settings, optimizer={"lr": 0.1})
    lower = override(config, optimizer={"lr": 0.01, "num_warmup_steps": 7})
    idle_steps |= {"step": 30, "to": float("nan")}
    with pytest.raises(FloatingPointError, match="the same --workdir goes on"):
        train(config, "run")
    for other in (override(lower, train={"seed": 1}), override(lower, optimizer={"beta1": 0.1})):
        with pytest.raises(ConfigError, match="made with other settings"):
            claim_workdir(other, "run")
    idle_steps.clear()
    train(lower, "run")
    shown = capsys.readouterr().out
    change = "optimizer.lr 0.1 -> 0.01, optimizer.num_warmup_steps 4 -> 7"
    assert f"run: diverged after step 20; goes on from there with {change}\n" in shown
    assert "at step 20\n" in shown
    line = {"step": 20, "optimizer.lr": [0.1, 0.01], "optimizer.num_warmup_steps": [4, 7]}
    assert json.loads(Path("run/settings_changes.jsonl").read_text()) == line
    assert [row["step"] for row in read_metrics("run")] == list(range(5, 41, 5))
    assert load_json("run/config.json") == lower
    with pytest.raises(ConfigError, match=r"optimizer.lr 0.01, now 0.1"):
        claim_workdir(config, "run")  # It did not diverge again.


@pytest.mark.timeout(300)
def test_a_store_replaced_between_stop_and_resume_is_noticed(debug_config, elsewhere, idle_steps):
    config = override(debug_config, data={"dir": "mine"})
    train(config, "run")
    shutil.rmtree("run/checkpoints/40")  # As if it had been stopped before.
    history = load_histories(config)
    origin = Origin(store_settings(config), program_hash(make_learner(config)[0]))
    other = history.transition._replace(reward=1 - history.transition.reward)
    shutil.rmtree("mine")
    write_store("mine", history._replace(transition=other), origin)
    with pytest.raises(ConfigError, match="trained on histories other than those there now"):
        train(config, "run")
    shutil.rmtree("mine")  # The same histories, made again, are as good.
    train(config, "run")
    assert restore_policy(config, "run")[1] == 40


@pytest.mark.timeout(300)
def test_a_second_training_changes_nothing(debug_config, elsewhere):
    claim_workdir(debug_config, "run")
    code = "from compad_jax.backend.ownership import owned\n"
    code += "with owned('run/training.lock', 'run'): print(flush=True), input()"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as first:
        first.stdout.readline()
        before = sorted(os.listdir("run"))
        with pytest.raises(ConfigError, match=f"run: in use by process {first.pid} on "):
            train(debug_config, "run")
        assert sorted(os.listdir("run")) == before == ["config.json", "training.lock"]
        first.kill()


@pytest.mark.timeout(300)
def test_divergence_stops_before_a_checkpoint(debug_config, elsewhere):
    config = override(debug_config, optimizer={"lr": 1e30, "grad_clip_norm": 1e30})
    with pytest.raises(FloatingPointError, match=r"diverged: .* at step"):
        train(config, "run")
    with Checkpoints("run") as checkpoints:
        assert checkpoints.steps == []


def test_a_finished_run_prepares_nothing(debug_config, elsewhere, monkeypatch, capsys):
    """Unless its last checkpoint is damaged: then it goes on from the one before."""

    def set_up(*_):
        raise NotImplementedError

    monkeypatch.setattr("compad_jax.training.loop.set_up", set_up)
    last = debug_config.train.train_timesteps
    params = make_model(debug_config)[1]
    with Checkpoints("run") as checkpoints:
        checkpoints.save(last - 1, params, {"nothing": 0}, 0.0)
        checkpoints.save(last, params, {"nothing": 0}, 0.0)
    save_json(debug_config, "run/config.json")
    train(debug_config, "run")
    assert "training is finished" in capsys.readouterr().out
    Path("run/metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match=f"^run/metrics.jsonl: has no line of step {last}, "):
        train(debug_config, "run")
    Path("run/metrics.jsonl").unlink()
    for path in Path(f"run/checkpoints/{last}/params").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(NotImplementedError):
        train(debug_config, "run")


def test_held_out_tasks_are_apart(debug_config, elsewhere):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    datasets = load_datasets(debug_config, mesh)
    tasks = {name: set(np.asarray(d.task).tolist()) for name, d in datasets.items()}
    assert sorted(map(len, tasks.values())) == [1, 3, 21]
    assert set.union(*tasks.values()) == set(range(25))


def test_a_mistaken_first_command_is_forgotten(debug_config, elsewhere, capsys):
    claim_workdir(override(debug_config, train={"seed": 7}), "run")
    claim_workdir(override(debug_config, train={"seed": 7}, eval={"num_seeds": 3}), "run")
    assert capsys.readouterr().out == ""
    claim_workdir(debug_config, "run")
    assert "run: nothing was trained here yet; the new settings" in capsys.readouterr().out
    assert load_json("run/config.json") == debug_config


def test_checkpoints_without_settings_are_nobodys(debug_config, elsewhere):
    Path("run/checkpoints/40").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"run: has checkpoints but no config\.json"):
        claim_workdir(debug_config, "run")
    assert not Path("run/config.json").exists()


@pytest.mark.parametrize("group", ["env", "source"])
def test_an_unknown_name_fails_before_any_file(debug_config, elsewhere, group):
    with pytest.raises(ConfigError, match=f"{group}.name='nobody'"):
        claim_workdir(override(debug_config, **{group: {"name": "nobody"}}), "run")
    assert not Path("run").exists()


def test_run_directory_belongs_to_its_settings(debug_config, elsewhere):
    claim_workdir(debug_config, "run")
    Path("run/checkpoints/20").mkdir(parents=True)
    claim_workdir(override(debug_config, eval={"num_episodes": 3}), "run")
    with pytest.raises(ConfigError, match=r"run: .*train.seed 0, now 7.*another --workdir"):
        claim_workdir(override(debug_config, train={"seed": 7}), "run")
