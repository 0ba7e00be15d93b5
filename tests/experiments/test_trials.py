"""Trials of what goes wrong: how they judge what the programs leave behind."""

import json
import subprocess

import numpy as np
import pytest

from experiments.trials import __main__ as trials
from experiments.trials import programs
from experiments.trials.damage import plant
from experiments.trials.kills import kill_one_of_two
from experiments.trials.programs import RUN, Bench, Ended, logged_steps, read_result


def _write_run(folder, loss=0.5, evaluations=("held_out-greedy-3",), seconds=1.0):
    run = folder / RUN
    checksum = run / "checkpoints" / "40" / "checksum"
    checksum.mkdir(parents=True)
    (checksum / "metadata").write_text('{"params": "abc"}')
    row = {"step": 40, "loss": loss, "tokens_per_second": seconds}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    for name in evaluations:
        (run / "eval" / name).mkdir(parents=True)
        (run / "eval" / name / "summary.json").write_text(json.dumps({"mean_return": loss}))
    return folder


@pytest.fixture
def bench(tmp_path):
    """A bench whose faultless training is files alone."""
    _write_run(tmp_path / "faultless")
    return Bench(tmp_path)


def test_results_are_the_same_but_for_the_clock_and_further_evaluations(bench, tmp_path):
    more = ("held_out-greedy-3", "train-greedy-3")
    assert bench.same_result(_write_run(tmp_path / "a", evaluations=more, seconds=2.0))
    assert not bench.same_result(_write_run(tmp_path / "b", loss=0.6))
    assert not bench.same_result(_write_run(tmp_path / "c", evaluations=()))
    assert not bench.same_result(tmp_path / "nowhere")


def test_a_result_that_is_cut_off_is_none(tmp_path):
    folder = _write_run(tmp_path / "a")
    assert logged_steps(folder) == 40
    (folder / RUN / "metrics.jsonl").write_text('{"step": 4')
    assert read_result(folder) is None
    assert logged_steps(folder) == 0


@pytest.mark.parametrize(
    ("code", "output", "refused"),
    [
        (2, "error: run/config.json: is damaged\n", True),
        (0, "error: run/config.json: is damaged\n", False),
        (1, "Traceback (most recent call last):\nerror: x\n", False),
        (-9, "error: x\n", False),
        (2, "", False),
    ],
)
def test_a_refusal_is_one_line_and_an_exit_code(code, output, refused):
    assert Ended(code, output).refused == refused


def test_a_program_tells_where_it_went_on():
    assert Ended(0, "run: 12,000 parameters, at step 1,020\n").went_on_from == 1020
    assert Ended(0, "run: training is finished\n").went_on_from == 40


def test_a_planted_file_is_survived_by_the_same_result_or_by_a_line_that_names_it(
    bench, monkeypatch
):
    (bench.faultless / RUN / "config.json").write_text('{"a": 1}')
    ends = {
        "same": Ended(0, ""),
        "named": Ended(2, "error: run/config.json: is damaged; move it away"),
        "unnamed": Ended(2, "error: something is wrong"),
        "raised": Ended(1, "Traceback (most recent call last):\nValueError"),
    }
    survived = {}
    for name, end in ends.items():
        monkeypatch.setattr(bench, "run", lambda *_, end=end: end)
        survived[name] = plant(bench, np.random.default_rng(0), 0).survived
    assert survived == {"same": True, "named": True, "unnamed": False, "raised": False}


@pytest.mark.parametrize(
    ("left", "again", "survived", "ended"),
    [
        ("exit 1", "exit 0", True, "same result"),
        ("exec sleep 60", "exit 0", False, "the other one hung for 1.5 seconds"),
        ("exit 1", "echo error: no; exit 2", False, "error: no error: no"),
    ],
)
def test_of_a_pair_the_other_one_must_end_and_both_must_go_on(
    bench, monkeypatch, left, again, survived, ended
):
    def start(script):
        kinds = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(["bash", "-c", script], **kinds)

    monkeypatch.setattr(programs, "_TIMEOUT", 1.5)
    pairs = iter([("exec sleep 60", left), (again, again)])
    monkeypatch.setattr(bench, "start_pair", lambda _: [start(x) for x in next(pairs)])
    monkeypatch.setattr(bench, "same_result", lambda *_, of_pair: of_pair)
    trial = kill_one_of_two(bench, np.random.default_rng(0), 0)
    assert (trial.survived, trial.ended) == (survived, ended)
    assert trial.what == "process 0: start"


def test_the_table_has_a_row_a_kind():
    lines = [
        {"kind": "killed: save", "survived": True, "ended": "same result", "lost_steps": 5},
        {"kind": "killed: save", "survived": False, "ended": "error: x", "lost_steps": 10},
        {"kind": "full disk", "survived": True, "ended": "same result", "lost_steps": 0},
    ]
    origin = {"commit": "abc1234", "hardware": "2 x cpu"}
    text = trials.table([line | origin for line in lines])
    assert "| killed: save | 2 | 1 | 1 | 10 |" in text
    assert "| full disk | 1 | 1 | 1 | 0 |" in text
    assert "commits abc1234; 2 x cpu." in text
