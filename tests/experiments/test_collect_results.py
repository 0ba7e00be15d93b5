"""Evaluations of finished runs in one small file."""

import json
import sys
from pathlib import Path

import pytest

from compad_jax.config.checks import ConfigError
from experiments import collect_results, docs_tables, evaluation_tables


@pytest.fixture
def summaries():
    with open("results/small_vs_ad/comparison.json", encoding="utf-8") as file:
        return json.load(file)[:2]


@pytest.fixture
def run(tmp_path, summaries):
    for summary in summaries:
        directory = tmp_path / "runs" / "small" / "eval" / summary["name"]
        directory.mkdir(parents=True)
        (directory / "summary.json").write_text(json.dumps(summary))
        columns = "episode,fraction,low,high,mean_return,return_low,return_high,source_fraction,"
        columns += "source_return,num_compressions"
        (directory / "curve.csv").write_text(f"{columns}\n1,0.5,0.4,0.6,8,7,9,,,0\n")
    return str(tmp_path / "runs" / "small")


def test_evaluations_are_kept_without_what_makes_them_large(run, summaries):
    collected = collect_results.collect([run + "/"])
    assert [s["action_selection"] for s in collected] == ["greedy", "sample"]
    for found, summary in zip(collected, summaries, strict=True):
        assert not {"per_task", "criteria"} & found.keys()
        assert found["run"] == "small"
        for key in ("config", "final_fraction_ci95", "num_tasks", "commit"):
            assert found[key] == summary[key]
        lowest = min(task["final_fraction_of_optimum"] for task in summary["per_task"])
        assert found["worst_task"]["final_fraction_of_optimum"] == lowest
    whole = [summary | {"run": "small"} for summary in summaries]
    assert evaluation_tables.splits(collected) == evaluation_tables.splits(whole)


def test_long_lives_keep_the_share_of_each_tenth(run, summaries):
    assert "fraction_of_tenths" not in collect_results.collect([run])[0]
    lines = [
        f"{i},{0.5 if i < 100 else 0.8 if i < 900 else 0.4},0,1,8,7,9,,,0" for i in range(1000)
    ]
    for summary in summaries:
        curve = Path(run, "eval", summary["name"], "curve.csv")
        curve.write_text("\n".join([curve.read_text().splitlines()[0], *lines]))
    collected = collect_results.collect([run])
    tenths = [0.5, *[0.8] * 8, 0.4]
    assert collected[0]["fraction_of_tenths"] == pytest.approx(tenths)
    assert "| 50.0% | 80.0% | 40.0% | 0.500 |" in evaluation_tables.lives(collected)


def test_other_splits_are_left_out(run, tmp_path, summaries):
    name = summaries[0]["name"]
    path = tmp_path / "runs" / "small" / "eval" / name / "summary.json"
    path.write_text(json.dumps(summaries[0] | {"split": "validation"}))
    assert [s["action_selection"] for s in collect_results.collect([run])] == ["sample"]
    assert len(collect_results.collect([run], "validation")) == 1
    with pytest.raises(ConfigError, match=r"small: no evaluation on train tasks$"):
        collect_results.collect([run], "train")


def test_the_worst_task_without_an_optimum_has_the_lowest_return():
    tasks = [{"mean_return": value, "final_fraction_of_optimum": None} for value in (2.0, 1.0, 3.0)]
    assert evaluation_tables.worst_task({"per_task": tasks})["mean_return"] == 1.0


def test_the_command_writes_what_the_docs_read(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["collect_results", "mine", run])
    collect_results.main()
    assert "results/mine/evaluations.json: 2 evaluations of 1 runs" in capsys.readouterr().out
    assert docs_tables.read_evaluations("results/mine") == collect_results.collect([run])
    assert (tmp_path / "results/mine/evaluations.json").stat().st_size < 20_000


def test_a_run_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no finished evaluation"):
        collect_results.collect([str(tmp_path)])


def test_runs_are_renamed_and_others_kept(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def collect_into_file(*arguments):
        monkeypatch.setattr(sys, "argv", ["collect_results", "mine", *arguments])
        collect_results.main()
        return [s["run"] for s in docs_tables.read_evaluations("results/mine")]

    assert collect_into_file(f"first={run}") == ["first"] * 2
    assert collect_into_file(run, "--keep") == ["first"] * 2 + ["small"] * 2
    assert collect_into_file(f"first={run}", "--keep") == ["small"] * 2 + ["first"] * 2
    assert collect_into_file(run) == ["small"] * 2


def test_a_directory_may_have_an_equals_sign_in_its_name(run):
    changed = f"{run},optimizer.lr=0.1"
    Path(run).rename(changed)
    assert collect_results.collect([changed])[0]["run"] == "small,optimizer.lr=0.1"
    assert collect_results.collect([f"slow={changed}"])[0]["run"] == "slow"


def test_nothing_can_be_kept_of_no_file(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["collect_results", "mine", run, "--keep"])
    with pytest.raises(SystemExit) as exit_info:
        collect_results.main()
    assert exit_info.value.code == 2
    assert "results/mine/*.json: no such file" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
