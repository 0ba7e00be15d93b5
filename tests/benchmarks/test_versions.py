"""Two commits of the main job, in turns; the job itself is left out."""

import json
import subprocess

import pytest

from benchmarks import versions
from compad_jax.config.checks import ConfigError


def test_checkouts_are_of_their_commits(tmp_path):
    folder = tmp_path / "old"
    name = versions.check_out("HEAD", str(folder))
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.startswith(name)
    assert (folder / "train_main.py").exists()


def test_an_unknown_commit_is_no_checkout(tmp_path):
    with pytest.raises(ConfigError, match="no-such-commit: no commit of this repository"):
        versions.check_out("no-such-commit", str(tmp_path / "old"))
    assert not (tmp_path / "old").exists()


def test_versions_take_turns_and_the_cold_one_does_not_count(tmp_path, monkeypatch, capsys):
    """The new version takes 9 seconds where the old one takes 10; both are slow at first."""
    order = []

    def run(folder, workdir):
        name = folder.rsplit("/", 1)[-1]
        order.append(name)
        seconds = (10.0 if name == "old" else 9.0) + 100 * (workdir == "runs/0")
        return {
            "seconds": seconds,
            "train_seconds": seconds,
            "tokens_per_second": 1000 / seconds,
            "returns": {"greedy": 1.0, "sample": 0.98 if name == "old" else 0.99},
        }

    monkeypatch.setattr(versions, "run", run)
    monkeypatch.setattr(versions, "check_out", lambda commit, folder: commit)
    path = tmp_path / "versions.json"
    monkeypatch.setattr("sys.argv", ["versions", "abc", "def", "--json", str(path)])
    versions.main()
    assert order == ["new", "old", "old", "new", "new", "old"]
    facts = json.loads(path.read_text())
    assert facts["commits"] == {"old": "abc", "new": "def"}
    assert facts["ratios"]["seconds"] == pytest.approx(0.9)
    assert facts["ratios"]["tokens_per_second"] == pytest.approx(10 / 9)
    assert [run["turn"] for run in facts["runs"]] == [0, 0, 1, 1, 2, 2]
    assert "seconds: new is 0.900 of old" in capsys.readouterr().out
    lines = versions.table(facts)
    assert "| seconds of the whole | 10.0 | 9.0 | 0.900 |" in lines
    assert "| tokens a second | 100.0 | 111.1 | 1.111 |" in lines
    assert "| of the optimum, sample | 98.0% | 99.0% |" in lines
    assert "2 warm turns" in lines
