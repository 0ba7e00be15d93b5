"""The list of runs: what was trained, how far, how well."""

import os
import sys

import pytest

from compad_jax import runs
from compad_jax.config import Config, save_json
from compad_jax.training.metrics_log import MetricsLogger
from tests.evaluation_files import write_evaluation


@pytest.fixture
def root(tmp_path):
    """Three runs: finished, begun and damaged."""
    for name in ("done", "deeper/begun", "broken"):
        os.makedirs(tmp_path / name)
        save_json(Config(), str(tmp_path / name / "config.json"))
    with MetricsLogger(str(tmp_path / "done"), 0) as logger:
        logger.write(980, {"loss": 2.0, "floor": 0.5})
        logger.write(1000, {"loss": 0.75, "floor": 0.5})
    (tmp_path / "done" / "checkpoints" / "1000").mkdir(parents=True)
    done = str(tmp_path / "done")
    write_evaluation(done, name="a", split="train", action_selection="sample", step=1000)
    write_evaluation(done, name="b", method="AD", action_selection="sample", step=500)
    write_evaluation(done, name="c", step=1000)
    (tmp_path / "broken" / "config.json").write_text("{")
    for age, name in enumerate(("broken", "deeper/begun", "done")):
        for folder, _, files in os.walk(tmp_path / name):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                os.utime(path, (10**9 + 10**6 * age,) * 2)
    return tmp_path


def test_a_row_a_run_the_newest_last(root):
    broken, begun, done = runs.list_runs(str(root))
    assert broken["run"] == "broken" and "config.json" in broken["note"]
    assert begun == dict.fromkeys(begun, "") | {
        "run": "deeper/begun",
        "step": "0 of 1,000",
        "changed": begun["changed"],
    }
    assert begun["changed"] < done["changed"]
    assert (done["step"], done["loss"], done["above floor"]) == ("1,000 of 1,000", "0.750", "0.250")
    assert done["greedy"] == "100.0% [100.0, 100.0]"
    assert done["sampled"].startswith("7")  # Held out comes before trained, though it is older.


def test_the_program(root, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["runs", str(root / "deeper")])
    runs.main()
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "step", "changed"]
    assert line.startswith("begun  0 of 1,000  2001-")
    monkeypatch.setattr(sys, "argv", ["runs", str(root / "nowhere")])
    with pytest.raises(SystemExit, match="2"):
        runs.main()
    assert capsys.readouterr().err == f"error: {root}/nowhere: no such directory\n"
