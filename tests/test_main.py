"""The two programs as a user runs them, in processes of their own."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.evaluation_files import cards_of, images_of

_slow, _exhaustive = pytest.mark.slow, pytest.mark.exhaustive
_ROOT = Path(__file__).parents[1]
_CONFIG = str(_ROOT / "configs" / "debug.py")
# What depends on the clock.
_UNSTABLE = ("tokens_per_second", "env_steps_per_second", "late_to_early_step_time")
_REQUIRED = {
    "env",
    "split",
    "num_tasks",
    "num_seeds",
    "num_episodes",
    "action_selection",
    "optimum_mean",
    "mean_return",
    "fraction_of_optimum",
    "final_fraction_of_optimum",
    "final_fraction_ci95",
    "per_task",
    "episodes_to_90_percent",
    "num_compressions",
    "criteria",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Settings of the processes; a compilation cache makes the later ones quick."""
    cache = tmp_path_factory.mktemp("cache")
    return os.environ | {
        "PYTHONPATH": str(_ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory, environment):
    """Where an uninterrupted run has finished."""
    path = tmp_path_factory.mktemp("uninterrupted")
    done = _run(path, environment, "train_main.py", "--config", _CONFIG, "--workdir", "run")
    assert done.returncode == 0, done.stderr
    return path


def _run(folder, environment, program, *arguments):
    return subprocess.run(
        [sys.executable, str(_ROOT / program), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


def _start(folder, environment, *more, program="train_main.py"):
    command = [sys.executable, str(_ROOT / program), "--config", _CONFIG, "--workdir", "run"]
    return subprocess.Popen(
        [*command, *more],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for(condition, process, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _metrics(folder, workdir="run"):
    lines = (folder / workdir / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [_stable(row) for row in rows]


def _stable(values):
    return {name: value for name, value in values.items() if name not in _UNSTABLE}


def _checksums(folder):
    """Of the last checkpoint's parameters and of the rest of its state."""
    path = folder / "run" / "checkpoints" / "40" / "checksum" / "metadata"
    checksums = json.loads(path.read_text())
    assert set(checksums) == {"params", "rest", "layout", "made_of"}
    return checksums


def _summary(folder, evaluation="held_out-greedy-6"):
    path = folder / "run" / "eval" / evaluation / "summary.json"
    return _stable(json.loads(path.read_text()))


_SMALL_TRAINING = {
    "source": {"num_streams": 40, "num_steps": 80},
    "data": {
        "whole_history": True,
        "min_compress_length": 10,
        "max_compress_length": 10,
        "min_uncompressed_length": 10,
        "max_uncompressed_length": 10,
    },
    "model": {
        "tf_n_embd": 32,
        "tf_n_layer": 2,
        "tf_dim_feedforward": 64,
        "n_latent": 8,
        "tf_dropout": 0.0,
        "tf_attn_dropout": 0.0,
    },
    "optimizer": {"lr": 3e-3, "num_warmup_steps": 20},
    "train": {
        "train_batch_size": 16,
        "quick_compile": False,
        "train_timesteps": 400,
        # Two held-out goals: their loss is 0.7 to 1.05 with seeds 0 to 3, 0.7 with this one.
        "seed": 1,
        "log_every": 50,
        "eval_every": 200,
        "checkpoint_every": 200,
    },
    "eval": {"num_seeds": 4, "num_episodes": 20, "split": "train"},  # More tasks, less luck.
}


@pytest.mark.timeout(300)
def test_small_training_learns_in_context(environment, tmp_path):
    settings = [
        f"--config.{group}.{name}={value}"
        for group, values in _SMALL_TRAINING.items()
        for name, value in values.items()
    ]
    # Without the flags of the tests: this one computes more than it compiles.
    environment = {name: x for name, x in environment.items() if name != "XLA_FLAGS"}
    arguments = ("--config", _CONFIG, "--workdir", "run", *settings)
    done = _run(tmp_path, environment, "train_main.py", *arguments)
    assert done.returncode == 0, done.stderr
    last = _metrics(tmp_path)[-1]
    assert last["floor"] < last["loss"] < last["floor"] + 0.12
    assert last["held_out_loss"] < 1.0  # Uniform predictions have 1.609.
    # Random actions reach about a tenth of the optimum here.
    for selection, threshold in (("greedy", 0.9), ("sample", 0.6)):
        summary = _summary(tmp_path, f"train-{selection}-20")
        assert summary["num_compressions"] == 19
        assert summary["final_fraction_of_optimum"] > threshold, selection
        assert summary["random_fraction_of_optimum"] < 0.15


@pytest.mark.timeout(300)
def test_main_job_writes_everything(folder):
    run = folder / "run"
    assert [row["step"] for row in _metrics(folder)] == list(range(5, 41, 5))
    keys = {"step", "loss", "nll", "accuracy", "floor", "lr", "depth_nll", "depth_tokens"}
    assert keys <= set(_metrics(folder)[0])
    assert "validation_loss" in _metrics(folder)[-1]
    assert (run / "config.json").exists()
    figures = images_of(run)
    assert set(figures) == {
        "training_curve",
        "evaluation/held_out-greedy-6/learning_curve",
        "evaluation/held_out-sample-6/learning_curve",
    }
    assert [points[0][0] for points in figures.values()] == [40, 40, 40]
    ((step, card),) = cards_of(run)
    assert step == 0 and "| `train.train_batch_size` | `8` |" in card
    for selection in ("greedy", "sample"):
        evaluation = run / "eval" / f"held_out-{selection}-6"
        names = {path.name for path in evaluation.iterdir()}
        assert names == {
            "summary.json",
            "curve.csv",
            "life.json",
            "learning_curve.png",
            "report.html",
        }
        summary = _summary(folder, f"held_out-{selection}-6")
        assert set(summary) >= _REQUIRED
        assert summary["action_selection"] == selection
        assert len(summary["per_task"]) == summary["num_tasks"] == 3
        low, high = summary["final_fraction_ci95"]
        assert 0 <= low <= summary["final_fraction_of_optimum"] <= high <= 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGKILL, marks=_slow),
        pytest.param(signal.SIGTERM, marks=_slow),
        pytest.param(signal.SIGINT, marks=_exhaustive),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(folder, environment, tmp_path, number):
    process = _start(tmp_path, environment)
    metrics = tmp_path / "run" / "metrics.jsonl"
    _wait_for(lambda: metrics.exists() and metrics.read_text().count("\n") >= 4, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number, output
        assert "to go on: python" in output
    _finish_like(folder, tmp_path, environment)


def _finish_like(uninterrupted, folder, environment):
    """Goes on with a run until it ends, and compares it with one that was not interrupted."""
    arguments = ("--config", _CONFIG, "--workdir", "run")
    done = _run(folder, environment, "train_main.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert _metrics(folder) == _metrics(uninterrupted)
    # Parameters and optimiser, bit for bit.
    assert _checksums(folder) == _checksums(uninterrupted)
    for selection in ("greedy", "sample"):
        name = f"held_out-{selection}-6"
        assert _summary(folder, name) == _summary(uninterrupted, name)


_PHASES = {  # The file that tells that it has begun.
    "collect": "run/config.json",
    "evaluate": "run/checkpoints/40/checksum/metadata",
    "report": "run/eval/held_out-greedy-6/summary.json",
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("phase", "number", "more", "code"),
    [
        pytest.param("collect", signal.SIGINT, (), 130, marks=_slow),
        pytest.param(
            "collect", signal.SIGTERM, ("--stopped_exit_code", "75"), 75, marks=_exhaustive
        ),
        pytest.param("evaluate", signal.SIGINT, (), 130, marks=_exhaustive),
        pytest.param("evaluate", signal.SIGTERM, (), 143, marks=_slow),
        pytest.param("report", signal.SIGTERM, ("--stopped_exit_code=75",), 75, marks=_exhaustive),
    ],
)
def test_every_phase_stops_and_goes_on(folder, environment, tmp_path, phase, number, more, code):
    process = _start(tmp_path, environment, *more)
    _wait_for((tmp_path / _PHASES[phase]).exists, process)
    time.sleep(0.3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert "to go on: python" in output.splitlines()[-1]
    _finish_like(folder, tmp_path, environment)


@pytest.mark.parametrize("program", ["train_main.py", "eval_main.py"])
def test_a_signal_during_the_imports_leaves_nothing(environment, tmp_path, program):
    process = _start(tmp_path, environment, program=program)
    time.sleep(0.4)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode in (143, -signal.SIGTERM)  # Python may not have started yet.
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_interrupted_evaluation_is_no_success(folder, environment):
    # So many that it still plays when the signal comes.
    episodes = "--config.eval.num_episodes=1000000"
    process = _start(folder, environment, episodes, program="eval_main.py")
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert output.splitlines()[-1] == "stopped"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_second_start_is_one_line_and_the_first_is_not_disturbed(folder, environment, tmp_path):
    first = _start(tmp_path, environment)
    _wait_for((tmp_path / "run" / "training.lock").exists, first)
    _wait_for(lambda: (tmp_path / "run" / "training.lock").read_text(), first)
    arguments = ("--config", _CONFIG, "--workdir", "run")
    second = _run(tmp_path, environment, "train_main.py", *arguments)
    assert second.returncode == 2
    line = second.stderr.strip().splitlines()[-1]
    assert line.startswith(f"error: run: in use by process {first.pid} on ")
    assert first.wait(timeout=200) == 0
    assert _checksums(tmp_path) == _checksums(folder)
    assert _summary(tmp_path) == _summary(folder)
    assert not (tmp_path / "run" / "training.lock").exists()


@pytest.mark.timeout(300)
def test_finished_run_says_so_and_keeps_its_results(folder, environment):
    before = _metrics(folder), _summary(folder)
    timing = folder / "run" / "timing.json"
    train_seconds = json.loads(timing.read_text())["seconds"]["train"]
    arguments = ("--config", _CONFIG, "--workdir", "run")
    done = _run(folder, environment, "train_main.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "training is finished" in done.stdout
    assert (_metrics(folder), _summary(folder)) == before
    assert json.loads(timing.read_text())["seconds"]["train"] == train_seconds > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_divergence_is_one_line_and_exit_code_1(folder, environment):
    arguments = ("--config", _CONFIG, "--workdir", "diverged")
    changes = ("train_timesteps=8", "log_every=1", "eval_every=1", "checkpoint_every=1")
    changes = [f"--config.train.{change}" for change in changes] + ["--config.optimizer.lr=1e38"]
    for _ in range(2):  # Started again it fares no worse.
        done = _run(folder, environment, "train_main.py", *arguments, *changes)
        assert done.returncode == 1
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith("error: the training diverged: ")
        assert "Traceback" not in done.stderr
    words = shlex.split(line.split("; for example: python ")[1])
    assert words[0] == str(_ROOT / "train_main.py")
    done = _run(folder, environment, *words)  # The advice, to the letter.
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in _metrics(folder, "diverged")] == list(range(1, 9))


@pytest.mark.timeout(300)
def test_other_settings_do_not_touch_a_run(folder, environment):
    arguments = ("--config", _CONFIG, "--workdir", "run", "--config.optimizer.lr=0.5")
    done = _run(folder, environment, "train_main.py", *arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: run: made with other settings")
    assert "optimizer.lr 0.001, now 0.5" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(300)
def test_eval_main_on_training_tasks_and_comparison(folder, environment):
    arguments = ("--config", _CONFIG, "--workdir", "run", "--config.eval.split=train")
    done = _run(folder, environment, "eval_main.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert (folder / "run" / "eval" / "train-greedy-6" / "summary.json").exists()
    done = _run(folder, environment, "eval_main.py", "--compare", "run", "run", "--workdir", "both")
    assert done.returncode == 0, done.stderr
    assert (folder / "both" / "comparison.png").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "nowhere.py"), "error: --config nowhere.py: no such file"),
        ((), "error: --config FILE is missing"),
        (("--config", _CONFIG, "--config.env.gridsize=3"), "no such setting 'gridsize'"),
        (("--config", _CONFIG, "--config.env.name=maze"), "env.name='maze': known are"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(environment, tmp_path, arguments, message):
    done = _run(tmp_path, environment, "train_main.py", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.timeout(300)
def test_evaluation_needs_a_training(environment, tmp_path):
    arguments = ("--config", _CONFIG, "--workdir", "run")
    done = _run(tmp_path, environment, "eval_main.py", *arguments)
    assert done.returncode == 2
    assert "error: run: nothing was trained here" in done.stderr
    assert not (tmp_path / "run").exists()
