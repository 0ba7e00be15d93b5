"""Bad files in every place: one line that names the file, and no traceback."""

import json
import os
from pathlib import Path

import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.histories.collection import load_histories
from compad_jax.reports.comparison import compare
from compad_jax.reports.evaluation_page import write_report
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.loop import train
from compad_jax.training.restore import restore_policy, restore_trained
from compad_jax.training.run_directory import claim_workdir
from tests.builders import make_model, override
from tests.evaluation_files import write_evaluation

_BAD = [b"", b"\xff\xfe\x00", b"{", b"3", b"[]", b"{}", b'"text"']
_WRONG = [  # Objects, each with a field of a wrong type or value.
    {"criteria": [3]},
    {"criteria": [{"name": "x"}]},
    {"per_task": [None]},
    {"final_fraction_ci95": [1, "x"]},
    {"fraction_of_optimum": "much"},
    {"num_tasks": 2.5},
    {"split": "elsewhere"},
    {"config": []},
]


@pytest.fixture
def config(debug_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return override(debug_config, data={"dir": "mine"})


def _start_training(config):
    train(config, "run")


def _continue_from(config):
    train(override(config, train={"init_from": "run"}), "other")


def _refused(start, path, *arguments):
    """The line that a start ends with: it names the file, which is left as it is."""
    before = path.read_bytes()
    with pytest.raises(ConfigError) as error:
        start(*arguments)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert path.read_bytes() == before
    return message


@pytest.mark.parametrize("content", [*_BAD, b'{"env": {}}', b'{"train": 3}'])
@pytest.mark.parametrize(
    "start", [_start_training, lambda c: evaluate(c, "run"), lambda _: restore_trained("run")]
)
def test_settings(config, start, content):
    os.makedirs("run/checkpoints/40")
    path = Path("run/config.json")
    path.write_bytes(content)
    assert "bring back a copy" in _refused(start, path, config)


def test_settings_of_another_version(config):
    claim_workdir(config, "run")
    path = Path("run/config.json")
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"model": {"quantum": True}}))
    assert "model.quantum: no such setting" in _refused(_start_training, path, config)


@pytest.mark.parametrize("content", [*_BAD, b'{"step": "40", "config": {}}', b'{"step": 40}'])
def test_the_summary_of_an_evaluation(config, content):
    claim_workdir(config, "run")
    with Checkpoints("run") as checkpoints:
        checkpoints.save(40, make_model(config)[1], {"step": 40}, 0.0)
    path = Path("run/eval/held_out-greedy-6/summary.json")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    _refused(evaluate, path, config, "run")


@pytest.mark.parametrize(
    "content", [*_BAD, b'{"format_version": 4}', b'{"format_version": 4, "arrays": {"a": 3}}']
)
def test_the_manifest_of_a_store(config, content):
    path = Path("mine/manifest.json")
    path.parent.mkdir()
    path.write_bytes(content)
    assert "delete" not in _refused(load_histories, path, config)


def test_a_file_where_a_store_is_expected(config):
    path = Path("mine")
    path.write_text("not ours")
    assert "delete" not in _refused(load_histories, path, config)


@pytest.mark.parametrize(
    "start", [lambda run, d: compare([run], "both"), lambda r, d: write_report(d)]
)
@pytest.mark.parametrize("content", [*_BAD, *_WRONG])
def test_the_summary_in_a_report(config, start, content):
    directory = write_evaluation("run")
    path = Path(directory) / "summary.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content).encode()
    path.write_bytes(content)
    _refused(start, path, "run", directory)
    assert not os.path.exists("both")


@pytest.mark.parametrize("content", [*_BAD, b"episode,low\n1,2\n", b"episode\n", b"a,b\n1\n"])
def test_the_curve_in_a_report(config, content):
    directory = write_evaluation("run")
    path = Path(directory) / "curve.csv"
    path.write_bytes(content)
    _refused(write_report, path, directory)


@pytest.mark.parametrize("content", [*_BAD, b'{"seconds": 3, "total_seconds": 3}'])
def test_the_timing_of_a_run(config, content):
    write_evaluation("run")
    path = Path("run/timing.json")
    path.write_bytes(content)
    _refused(compare, path, ["run"], "both")


_NO_METRICS = [b"", b"\xff\xfe\n", b"3\n{}\n[]\n", b'{"step": 5}\n']


def _finish(config, log):
    """A run that looks finished at step 40, with this log."""
    claim_workdir(config, "run")
    with Checkpoints("run") as checkpoints:
        checkpoints.save(40, make_model(config)[1], {"step": 40}, 0.0)
    path = Path("run/metrics.jsonl")
    path.write_bytes(log)
    return path


@pytest.mark.parametrize("content", _NO_METRICS)
def test_the_log_of_a_training(config, content):
    path = _finish(config, content)
    _refused(train, path, config, "run")
    _refused(evaluate, path, config, "run")
    assert restore_policy(config, "run")[1] == 40
    assert path.read_bytes() == content and not os.path.exists("run/eval")


@pytest.mark.parametrize("content", _NO_METRICS)
def test_lines_that_were_never_logged_are_no_loss_of_the_evaluation(config, content):
    _finish(config, content + b'{"step": 40}\n')
    train(config, "run")  # Finished.
    directories = evaluate(config, "run")
    criteria = json.loads((Path(directories[0]) / "summary.json").read_text())["criteria"]
    assert {row["value"] for row in criteria[:10]} == {None}
