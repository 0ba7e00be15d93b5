"""Reports on synthetic evaluations: files, figures, escaping, tables and refusals."""

import base64
import os
import re

import matplotlib
import matplotlib.image
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.reports import evaluation_page, figures, finished_runs, tables, wording
from tests.evaluation_files import (
    check_picture,
    images_of,
    read,
    summary_of,
    write_evaluation,
)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "AD"},
        {"num_episodes": 1},
        {"num_episodes": 1, "has_optimum": False},
        {"has_optimum": False, "random_mean_return": None},
        {"has_optimum": False, "num_episodes": 500, "source_episodes": 0},
        {"num_episodes": 30, "source_episodes": 0},
        {"num_episodes": 500, "method": "AD"},
        {"num_episodes": 2000, "action_selection": "sample", "split": "validation"},
    ],
    ids=str,
)
def test_report_is_drawn(tmp_path, settings):
    directory = write_evaluation(str(tmp_path), **settings)
    before = dict(matplotlib.rcParams)
    evaluation_page.write_report(directory)
    assert dict(matplotlib.rcParams) == before
    check_picture(os.path.join(directory, "learning_curve.png"), size=(675, 1200))


def test_few_compressions_are_ticks_and_many_are_text(tmp_path):
    for number, (num_episodes, marked) in enumerate([(30, True), (2000, False)]):
        directory = write_evaluation(str(tmp_path / str(number)), num_episodes=num_episodes)
        axes = figures._learning_curve(*finished_runs.load(directory)).axes[0]
        ticks = [line for line in axes.lines if line.get_marker() == "|"]
        texts = [text.get_text() for text in axes.texts]
        if marked:
            assert list(ticks[0].get_xdata()) == list(range(2, 31)) and not texts
        else:
            assert texts == ["one compression every 20 steps, 1,999 in all"] and not ticks
            assert axes.get_xscale() == "log"


def test_the_band_is_the_interval_of_each_episode(tmp_path):
    summary, curve = finished_runs.load(write_evaluation(str(tmp_path)))
    assert (curve["low"] < curve["high"]).any()
    (band,) = figures._learning_curve(summary, curve).axes[0].collections
    x, height = band.get_paths()[0].vertices.T
    for episode, low, high in zip(curve["episode"], curve["low"], curve["high"], strict=True):
        here = height[x == episode]
        assert (here.min(), here.max()) == pytest.approx((low, high))


def test_title_says_what_was_found(tmp_path):
    summary = summary_of(write_evaluation(str(tmp_path)))
    summary["final_fraction_ci95"] = [0.998, 1.0]
    expected = "CompAD on 8 unseen tasks: 100% of the optimum (95% CI 99.8\u2013100), "
    assert wording.title_of(summary) == expected + "90% after 5 episodes, greedy"
    summary |= {"num_tasks": 1, "episodes_to_90_percent": 1}
    assert "1 unseen task:" in wording.title_of(summary)
    assert "after 1 episode," in wording.title_of(summary)


def test_without_an_optimum_the_title_says_returns(tmp_path):
    summary = summary_of(write_evaluation(str(tmp_path), has_optimum=False, split="train"))
    expected = "CompAD on 8 training tasks: a return of 16.5 an episode (95% CI 15.5 to 17.5), "
    assert wording.title_of(summary) == expected + "100.0% of its source's, greedy"
    summary["final_share_of_source_return"] = None
    assert wording.title_of(summary) == expected + "greedy"


def test_references_are_lines_also_of_a_single_episode(tmp_path):
    for number, has_optimum in enumerate((True, False)):
        folder = str(tmp_path / str(number))
        directory = write_evaluation(folder, num_episodes=1, has_optimum=has_optimum)
        axes = figures._learning_curve(*finished_runs.load(directory)).axes[0]
        heights = {x.get_label(): (list(x.get_xdata()), x.get_ydata()[0]) for x in axes.lines}
        unit = 1 if has_optimum else 16.5
        assert heights["source, mbie_eb"] == ([0.5, 1.5], pytest.approx(0.14 * unit))
        assert heights["random agent"] == ([0.5, 1.5], 0.024 if has_optimum else 0.4)
        assert ("optimum" in heights) == has_optimum
        assert heights["CompAD"][1] == pytest.approx(0.15 * unit)


@pytest.mark.parametrize("fraction, text", [(1.0, "100.0"), (0.99996, "99.9"), (0.7504, "75.0")])
def test_percentages_never_round_up_to_all(fraction, text):
    assert wording.percent(fraction) == text


def test_page_is_self_contained_escaped_and_complete(tmp_path):
    directory = write_evaluation(str(tmp_path), run="a<b>&c", hardware="<script>alert(1)</script>")
    evaluation_page.write_report(directory)
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
    assert ["2, 3", "17", "16.5", "14.5", "0.98"] in rows
    assert ["train loss", "&lt; 0.8", "0.53", "pass", "0.39"] in rows
    assert ["return", "&gt; 2", "-", "not measured", "-"] in rows
    impossible = "FAIL, as it must: the floor is above the target"
    assert ["test loss", "&lt; 0.5", "0.6", impossible, "0.55"] in rows
    assert ["optimizer.lr", "0.0003"] in rows


def test_tensorboard_shows_the_learning_curves(tmp_path, capsys):
    runs = [str(tmp_path / "one"), str(tmp_path / "one"), str(tmp_path / "two")]
    names = ["greedy", "sample", "greedy"]
    directories = [
        write_evaluation(run, name=name, step=step)
        for run, name, step in zip(runs, names, (10, 20, 30), strict=True)
    ]
    evaluation_page.publish(directories)
    assert "report.html" in capsys.readouterr().out
    shown = {run: images_of(run) for run in runs}
    assert [len(shown[run]) for run in runs] == [2, 2, 1]
    for run, name, step, directory in zip(runs, names, (10, 20, 30), directories, strict=True):
        with open(os.path.join(directory, "learning_curve.png"), "rb") as file:
            picture = step, file.read(), 1200, 675
        assert shown[run][f"evaluation/{name}/learning_curve"] == [picture]


@pytest.mark.parametrize("damage", ["summary.json", "curve.csv"])
def test_an_unreadable_evaluation_is_refused(tmp_path, damage):
    directory = write_evaluation(str(tmp_path))
    os.remove(os.path.join(directory, damage))
    with pytest.raises(ConfigError, match="no readable evaluation"):
        evaluation_page.write_report(directory)


def test_table_without_an_optimum(tmp_path):
    directory = write_evaluation(str(tmp_path), has_optimum=False)
    header, row = tables.text_table([summary_of(directory)]).split("\n")
    assert re.split(r"  +", header)[-5:-2] == ["final [95% CI]", "worst task", "of its source"]
    assert re.split(r"  +", row)[3:7] == ["16.15", "16.5 [15.5, 17.5]", "9.5", "100.0%"]
    assert "nan" not in row


def test_table_is_aligned_and_right(tmp_path):
    names = ("small", "small,model.n_latent=40,optimizer.lr=0.0003,train.seed=1")
    directories = [
        write_evaluation(str(tmp_path / names[0])),
        write_evaluation(str(tmp_path / names[1]), method="AD", env_steps_per_second=1234567.8),
    ]
    text = tables.text_table([summary_of(directory) for directory in directories])
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
    for name in ("overall", "worst task", "to 90%", "compressions", "steps/s"):
        assert all(line[header.index(name) + len(name) - 1] != " " for line in (first, second))
