"""The whole program on several devices and processes: the same histories, losses and files."""

import hashlib
import json
import signal
import time

import numpy as np
import pytest

from tests.process_groups import ROOT, Group

pytestmark = pytest.mark.timeout(600)
_slow, _exhaustive = pytest.mark.slow, pytest.mark.exhaustive
_CONFIG = str(ROOT / "configs" / "debug.py")  # With dropout.
_UNSTABLE = ("tokens_per_second", "env_steps_per_second", "late_to_early_step_time")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Keeps compiled programs between the tests."""
    return str(tmp_path_factory.mktemp("cache"))


def _start(folder, cache, number, devices=1, changes=()):
    arguments = [ROOT / "train_main.py", "--config", _CONFIG, "--workdir", "run", *changes]
    return Group(arguments, number, folder, devices=devices, JAX_COMPILATION_CACHE_DIR=cache)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cache):
    """Where one process with one device has finished."""
    folder = tmp_path_factory.mktemp("alone")
    group = _start(folder, cache, 1)
    assert group.wait() == [0], group.outputs(1)
    return folder


def _store(folder):
    """SHA-256 of every file of the one store, by its place under `data`."""
    files = [path for path in (folder / "data").rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _metrics(folder):
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _require_equal_losses(folder, alone):
    """Every number of every logged step, to 1e-5."""
    rows, expected = _metrics(folder), _metrics(alone)
    assert [row["step"] for row in rows] == list(range(5, 41, 5))
    for row, wanted in zip(rows, expected, strict=True):
        assert row.keys() == wanted.keys()
        for name in row.keys() - set(_UNSTABLE):
            numbers = [np.array(x[name], float) for x in (row, wanted)]  # None becomes NaN.
            np.testing.assert_allclose(*numbers, rtol=1e-5, atol=1e-5, err_msg=name)


def _require_equal_evaluation(folder, alone, selection="greedy"):
    place = f"run/eval/held_out-{selection}-6/summary.json"
    summaries = [json.loads((path / place).read_text()) for path in (folder, alone)]
    for name in ("mean_return", "num_compressions", "per_task", "step", "source_final_fraction"):
        assert summaries[0].get(name) == summaries[1].get(name), name
    names = {path.name for path in (folder / place).parent.iterdir()}
    assert names == {"summary.json", "curve.csv", "life.json", "learning_curve.png", "report.html"}


@pytest.mark.parametrize(
    ("number", "devices"),
    [
        pytest.param(1, 2, marks=_exhaustive),
        pytest.param(1, 8, marks=_slow),
        pytest.param(2, 1, marks=_exhaustive),
        pytest.param(2, 2, marks=_slow),
        pytest.param(4, 1, marks=_exhaustive),
    ],
)
def test_devices_and_processes_change_no_history_and_no_loss(
    alone, cache, tmp_path, number, devices
):
    group = _start(tmp_path, cache, number, devices)
    assert group.wait(550) == [0] * number, group.outputs(1)
    assert group.outputs(0)[1:] == [[]] * (number - 1)  # Process 0 speaks for all.
    assert group.outputs(1)[1:] == [[]] * (number - 1)
    assert _store(tmp_path) == _store(alone)
    _require_equal_losses(tmp_path, alone)
    _require_equal_evaluation(tmp_path, alone)
    assert json.loads((tmp_path / "run" / "timing.json").read_text())["processes"] == 1


@pytest.mark.parametrize(
    "first", [pytest.param(1, marks=_slow), pytest.param(2, marks=_exhaustive)]
)
def test_a_signal_to_one_stops_all_and_another_number_goes_on(alone, cache, tmp_path, first):
    """One process goes on for two, and two for one; SIGTERM goes to the last."""
    group = _start(tmp_path, cache, first)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 2:
        assert all(process.poll() is None for process in group.processes), group.outputs(1)
        time.sleep(0.02)
    group.processes[-1].send_signal(signal.SIGTERM)
    assert group.wait() == [143] * first, group.outputs(1)
    (line,) = [x for x in group.outputs(0)[0] if x.startswith("stopped at step")]
    step = int(line.split()[3].rstrip(";"))
    assert 10 <= step < 40
    assert (tmp_path / "run" / "checkpoints" / str(step) / "params").is_dir()
    group = _start(tmp_path, cache, 3 - first)
    assert group.wait() == [0] * (3 - first), group.outputs(1)
    assert f"at step {step}" in "".join(group.outputs(0)[0])
    _require_equal_losses(tmp_path, alone)
    _require_equal_evaluation(tmp_path, alone)


@_slow
def test_a_mistake_is_one_line_and_every_process_exits_with_2(alone, cache):
    group = _start(alone, cache, 2, changes=["--config.optimizer.lr=0.5"])
    assert group.wait() == [2, 2]
    # As one text: a library's note may stand in the same line, or a warning in one of its own.
    text = "\n".join(x for lines in group.outputs(1) for x in lines)
    assert "error: run: made with other settings (optimizer.lr 0.001, now 0.5)" in text, text
    assert text.count("error: ") == 1, text
    assert "Traceback" not in text, text


@_exhaustive
def test_a_divergence_is_one_line_and_every_process_exits_with_1(cache, tmp_path):
    changes = ["--config.train.log_every=1", "--config.optimizer.lr=1e38"]
    group = _start(tmp_path, cache, 2, changes=changes)
    assert group.wait() == [1, 1]
    lines = [x for lines in group.outputs(1) for x in lines if "error" in x]
    assert len(lines) == 1
    assert "error: the training diverged: " in lines[0]


@_exhaustive
def test_seven_tasks_of_ppo_are_shared_by_three(cache, tmp_path):
    """Unevenly, and by a teacher that is trained by gradients."""
    changes = ["env.num_tasks=7", "source.name=ppo", "train.train_batch_size=6"]
    changes = [f"--config.{change}" for change in [*changes, "train.train_timesteps=10"]]
    stores = []
    for number in (1, 3):
        (tmp_path / str(number)).mkdir()
        group = _start(tmp_path / str(number), cache, number, changes=changes)
        assert group.wait() == [0] * number, group.outputs(1)
        stores.append(_store(tmp_path / str(number)))
    assert stores[0] == stores[1]
