"""Reports on synthetic evaluations: files, figures, escaping, tables and refusals."""

import base64
import json
import os
import re

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from compad_jax import evaluations, figures, report
from compad_jax.checks import ConfigError

_EARLY = {
    "CompAD": (0.15, 0.4, 0.6, 0.8, 0.95, 1.0),
    "AD": (0.15, 0.3, 0.45, 0.58, 0.66, 0.71, 0.74, 0.75),
}
_SOURCE = (0.14, 0.38, 0.59, 0.81, 0.95, 0.98)


def write_evaluation(
    run, /, *, name="held_out_greedy", method="CompAD", source_episodes=20, **changes
):
    """Writes `<run>/eval/<name>/` with a curve that rises as early ones do, and then stays."""
    selection = changes.get("action_selection", "greedy")
    num_episodes = changes.get("num_episodes", 100)
    early = _EARLY[method][:num_episodes]
    fraction = np.full(num_episodes, early[-1])
    fraction[: len(early)] = early
    half = np.where(fraction < 1, 0.04, 0.0)
    if selection == "sample":
        fraction = fraction * 0.97 + np.random.default_rng(0).normal(0, 0.006, num_episodes)
        half = np.full(num_episodes, 0.02)
    source = [*_SOURCE, *[_SOURCE[-1]] * num_episodes][:source_episodes]
    compressions = np.arange(num_episodes) if method == "CompAD" else np.zeros(num_episodes, int)
    final = float(fraction[-max(1, num_episodes // 10) :].mean())
    above = np.flatnonzero(fraction >= 0.9)
    summary = {
        "name": name,
        "run": os.path.basename(run),
        "method": method,
        "env": "dark_room",
        "source": "mbie_eb",
        "split": "held_out",
        "num_tasks": 8,
        "num_seeds": 8,
        "num_episodes": num_episodes,
        "action_selection": selection,
        "optimum_mean": 16.5,
        "random_fraction_of_optimum": 0.024,
        "mean_return": 16.5 * float(fraction.mean()),
        "fraction_of_optimum": float(fraction.mean()),
        "final_fraction_of_optimum": final,
        "final_fraction_ci95": [final - float(half[-1]), final + float(half[-1])],
        "per_task": [
            {
                "task": [row, 3],
                "optimum": 17.0,
                "mean_return": 16.5,
                "final_fraction_of_optimum": final - 0.01 * row,
            }
            for row in range(8)
        ],
        "episodes_to_90_percent": int(above[0]) + 1 if len(above) else None,
        "num_compressions": int(compressions[-1]),
        "env_steps_per_second": 8612.3,
        "criteria": [
            {
                "name": "train loss",
                "target": "< 0.8",
                "value": 0.53,
                "passed": True,
                "floor": 0.39,
                "possible": True,
            },
            {
                "name": "return",
                "target": "> 2",
                "value": None,
                "passed": None,
                "floor": None,
                "possible": None,
            },
            {
                "name": "test loss",
                "target": "< 0.5",
                "value": 0.6,
                "passed": False,
                "floor": 0.55,
                "possible": False,
            },
        ],
        "step": 1000,
        "num_parameters": 267_000,
        "hardware": "2 CPU cores",
        "versions": {"jax": "0.10.2"},
        "commit": None,
        "config": {"env": {"grid_size": 9}, "optimizer": {"lr": 3e-4}},
        "max_compress_length": 20,
        "max_uncompressed_length": 20,
        "horizon": 20,
        **changes,
    }
    directory = os.path.join(run, "eval", name)
    os.makedirs(directory)
    with open(os.path.join(directory, "summary.json"), "w", encoding="utf-8") as file:
        json.dump(summary, file)
    with open(os.path.join(directory, "curve.csv"), "w", encoding="utf-8") as file:
        file.write("episode,fraction,low,high,mean_return,source_fraction,num_compressions\n")
        for i, value in enumerate(fraction):
            low, high = value - half[i], value + half[i]
            taught = source[i] if i < len(source) else ""
            file.write(f"{i + 1},{value},{low},{high},{16.5 * value},{taught},{compressions[i]}\n")
    return directory


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def summary_of(directory):
    return json.loads(read(directory, "summary.json"))


def check_picture(path, size=None):
    """Drawn on, of the right size, and with nothing cut off by its edges."""
    pixels = matplotlib.image.imread(path)[..., :3]
    if size:
        assert pixels.shape[:2] == size
    assert 0.01 < (pixels < 0.9).any(-1).mean() < 0.5
    for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert (edge == 1).all()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "AD"},
        {"num_episodes": 1},
        {"num_episodes": 30, "source_episodes": 0},
        {"num_episodes": 500, "method": "AD"},
        {"num_episodes": 2000, "action_selection": "sample", "split": "validation"},
    ],
    ids=str,
)
def test_report_is_drawn(tmp_path, settings):
    directory = write_evaluation(str(tmp_path), **settings)
    before = dict(matplotlib.rcParams)
    report.write_report(directory)
    assert dict(matplotlib.rcParams) == before
    check_picture(os.path.join(directory, "learning_curve.png"), size=(675, 1200))


def test_few_compressions_are_ticks_and_many_are_text(tmp_path):
    for number, (num_episodes, marked) in enumerate([(30, True), (2000, False)]):
        directory = write_evaluation(str(tmp_path / str(number)), num_episodes=num_episodes)
        axes = figures._learning_curve(*evaluations.load(directory)).axes[0]
        ticks = [line for line in axes.lines if line.get_marker() == "|"]
        texts = [text.get_text() for text in axes.texts]
        if marked:
            assert list(ticks[0].get_xdata()) == list(range(2, 31)) and not texts
        else:
            assert texts == ["one compression every 20 steps, 1,999 in all"] and not ticks
            assert axes.get_xscale() == "log"


def test_title_says_what_was_found(tmp_path):
    summary = summary_of(write_evaluation(str(tmp_path)))
    summary["final_fraction_ci95"] = [0.998, 1.0]
    expected = "CompAD on 8 unseen goals: 100% of the optimum (95% CI 99.8\u2013100), "
    assert figures.title_of(summary) == expected + "90% after 5 episodes, greedy"
    summary |= {"num_tasks": 1, "episodes_to_90_percent": 1}
    assert "1 unseen goal:" in figures.title_of(summary)
    assert "after 1 episode," in figures.title_of(summary)


@pytest.mark.parametrize("fraction, text", [(1.0, "100.0"), (0.99996, "99.9"), (0.7504, "75.0")])
def test_percentages_never_round_up_to_all(fraction, text):
    assert figures.percent(fraction) == text


def test_page_is_self_contained_escaped_and_complete(tmp_path):
    directory = write_evaluation(str(tmp_path), run="a<b>&c", hardware="<script>alert(1)</script>")
    report.write_report(directory)
    page = read(directory, "report.html")
    assert "a&lt;b&gt;&amp;c" in page and "a<b>" not in page
    assert "<script" not in page and "http" not in page and "color-scheme: light dark" in page
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', page).group(1)
    with open(os.path.join(directory, "learning_curve.png"), "rb") as file:
        assert base64.b64decode(picture) == file.read()
    cells = re.findall(r"<tr>(.*)</tr>", page)
    rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in cells]
    assert ["random_fraction_of_optimum", "0.024"] in rows
    assert ["final_fraction_ci95", "1, 1"] in rows
    assert ["num_parameters", "267,000"] in rows
    assert ["commit", "-"] in rows and ["versions", "jax 0.10.2"] in rows
    assert ["2, 3", "17", "16.5", "0.98"] in rows
    assert ["train loss", "&lt; 0.8", "0.53", "pass", "0.39"] in rows
    assert ["return", "&gt; 2", "-", "not measured", "-"] in rows
    impossible = "FAIL, as it must: the floor is above the target"
    assert ["test loss", "&lt; 0.5", "0.6", impossible, "0.55"] in rows
    assert ["optimizer.lr", "0.0003"] in rows


@pytest.mark.parametrize("damage", ["summary.json", "curve.csv"])
def test_an_unreadable_evaluation_is_refused(tmp_path, damage):
    directory = write_evaluation(str(tmp_path))
    os.remove(os.path.join(directory, damage))
    with pytest.raises(ConfigError, match="no readable evaluation"):
        report.write_report(directory)


def test_table_is_aligned_and_right(tmp_path):
    names = ("small", "small,model.n_latent=40,optimizer.lr=0.0003,train.seed=1")
    directories = [
        write_evaluation(str(tmp_path / names[0])),
        write_evaluation(str(tmp_path / names[1]), method="AD", env_steps_per_second=1234567.8),
    ]
    text = report.table([summary_of(directory) for directory in directories])
    header, first, second = text.split("\n")
    assert len(header) == len(first) == len(second) <= 110
    columns = re.split(r"  +", first)
    assert columns[:4] == ["small", "CompAD", "greedy", "97.9%"]
    assert columns[4:] == ["100.0% [100.0, 100.0]", "93.0%", "5", "99", "8,612"]
    columns = re.split(r"  +", second)
    assert columns[0].startswith("small,") and columns[0].endswith("d=1") and ".." in columns[0]
    assert columns[1:5] == ["AD", "greedy", "73.3%", "75.0% [71.0, 79.0]"]
    assert columns[5:] == ["68.0%", "never", "0", "1,234,568"]
    for name in ("method", "acting"):  # Text begins, numbers end, where the header does.
        assert all(line[header.index(name) - 1 :][:2].strip() for line in (first, second))
        assert all(line[header.index(name) - 1] == " " for line in (first, second))
    for name in ("overall", "worst goal", "to 90%", "compressions", "steps/s"):
        assert all(line[header.index(name) + len(name) - 1] != " " for line in (first, second))


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
    text = report.compare([runs[0], runs[1] + os.sep], directory)
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
        evaluations.comparable({run: evaluations.load_run(run) for run in runs})
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
    assert len(report.compare(runs, str(tmp_path / "out")).split("\n")) == 5


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
        report.compare(runs, str(tmp_path / "out"))
    assert str(error.value) == f"{runs[0]} and {runs[1]} differ: {difference}"
    assert not os.path.exists(tmp_path / "out")


def test_compare_refuses_a_run_without_evaluations(tmp_path):
    runs = [str(tmp_path / "a"), str(tmp_path / "x")]
    write_evaluation(runs[0])
    os.makedirs(os.path.join(runs[1], "eval", "unfinished"))
    with pytest.raises(ConfigError) as error:
        report.compare(runs, str(tmp_path / "out"))
    assert str(error.value) == f"{runs[1]}: no finished evaluation; run eval_main.py first"
