"""Runs beside each other: what can be compared is, and what cannot is named."""

import json
import os
import re

import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.reports import comparison, figures, finished_runs
from tests.evaluation_files import check_picture, read, write_evaluation


def write_pair(tmp_path, **changes):
    """Runs `a` (CompAD) and `b` (AD, changed), each acting in both ways."""
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    for selection in ("greedy", "sample"):
        write_evaluation(runs[0], name=selection, action_selection=selection)
        settings = {"action_selection": selection, **changes}
        write_evaluation(runs[1], name=selection, method="AD", **settings)
    return runs


def test_compare_draws_and_writes(tmp_path):
    runs = write_pair(tmp_path, source="ppo")
    directory = str(tmp_path / "out" / "comparison")
    text = comparison.compare([runs[0], runs[1] + os.sep], directory)
    rows = [re.split(r"  +", line) for line in text.split("\n")[1:]]
    assert [row[:3] for row in rows] == [
        ["a", "CompAD", "greedy"],
        ["a", "CompAD", "sample"],
        ["b", "AD", "greedy"],
        ["b", "AD", "sample"],
    ]
    check_picture(os.path.join(directory, "comparison.png"))
    headlines = json.loads(read(directory, "comparison.json"))
    assert [(item["run"], item["name"]) for item in headlines][1:3] == [
        ("a", "sample"),
        ("b", "greedy"),
    ]
    assert headlines[2]["final_fraction_of_optimum"] == pytest.approx(0.75)
    assert "<td>75.0% [71.0, 79.0]</td>" in read(directory, "comparison.html")
    text = read(directory, "comparison.md")
    assert "| b | AD | greedy | 73.3% | 75.0% [71.0, 79.0] |" in text
    verdict = "0.600 (floor 0.550): FAIL, as it must: the floor is above the target"
    assert f"| test loss | < 0.5 | {verdict} | {verdict} | {verdict} | {verdict} |" in text
    panels = figures._comparison(
        finished_runs.comparable({run: finished_runs.load_run(run) for run in runs})
    )
    for axes in panels.axes:
        labels = [line.get_label() for line in axes.lines]
        references = ["source, mbie_eb", "optimum", "random agent", "source, ppo"]
        assert labels[2:] == references and labels[0].startswith("a, CompAD")


def test_compare_takes_the_kind_that_runs_share(tmp_path):
    runs = write_pair(tmp_path)
    write_evaluation(runs[0], name="long", num_episodes=300)
    write_evaluation(runs[0], name="train", split="train")
    write_evaluation(runs[1], name="train", split="train", method="AD")
    assert len(comparison.compare(runs, str(tmp_path / "out")).split("\n")) == 5


def test_runs_without_an_optimum_are_compared_by_returns(tmp_path):
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    for run, method in zip(runs, ("CompAD", "AD"), strict=True):
        write_evaluation(run, method=method, has_optimum=False)
    text = comparison.compare(runs, str(tmp_path / "out"))
    assert re.split(r"  +", text.split("\n")[2])[3:7] == [
        "12.1",
        "12.38 [11.38, 13.38]",
        "5.375",
        "75.0%",
    ]
    check_picture(str(tmp_path / "out" / "comparison.png"))


def test_checkpoints_of_a_run_are_told_apart(tmp_path):
    runs = write_pair(tmp_path)
    write_evaluation(runs[0], name="best", step=700)
    comparison.compare(runs, str(tmp_path / "out"))
    names = [item["run"] for item in json.loads(read(tmp_path, "out", "comparison.json"))]
    assert names == ["a, step 700", "a, step 1000", "a, step 1000", "b", "b"]


@pytest.mark.parametrize(
    "changes, difference",
    [
        ({"split": "train"}, "split held_out and train"),
        ({"num_episodes": 50}, "num_episodes 100 and 50"),
        ({"env": "other", "num_tasks": 9}, "env dark_room and other, num_tasks 8 and 9"),
    ],
)
def test_compare_refuses_what_differs(tmp_path, changes, difference):
    runs = write_pair(tmp_path, **changes)
    with pytest.raises(ConfigError) as error:
        comparison.compare(runs, str(tmp_path / "out"))
    assert str(error.value) == f"{runs[0]} and {runs[1]} differ: {difference}"
    assert not os.path.exists(tmp_path / "out")


def test_compare_refuses_a_run_without_evaluations(tmp_path):
    runs = [str(tmp_path / "a"), str(tmp_path / "x")]
    write_evaluation(runs[0])
    os.makedirs(os.path.join(runs[1], "eval", "unfinished"))
    with pytest.raises(ConfigError) as error:
        comparison.compare(runs, str(tmp_path / "out"))
    assert str(error.value) == f"{runs[1]}: no finished evaluation; run eval_main.py first"
