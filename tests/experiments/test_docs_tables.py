"""Generated blocks of pages: from results files alone, and up to date."""

import json
import os
import re

import pytest

from compad_jax.config.checks import ConfigError
from experiments import docs_tables, evaluation_tables

_PACKAGE = "compad_jax"
_PROSE = ("docs/tutorial.md", "docs/own_histories.md")
_MADE = ("runs/", "data/", "eval/")  # What programs make.


@pytest.fixture
def summaries():
    with open("results/small_vs_ad/comparison.json", encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize("page", docs_tables.PAGES)
def test_committed_pages_say_what_the_committed_results_say(page):
    with open(page, encoding="utf-8") as file:
        text = file.read()
    assert "<!-- /" in text
    assert docs_tables.fill_blocks(text, page) == text, "run python -m experiments.docs_tables"


def test_blocks_are_replaced_and_prose_is_kept():
    text = "before\n<!-- bench:long -->\nold\n<!-- /bench -->\nafter\n"
    filled = docs_tables.fill_blocks(text)
    assert filled.startswith("before\n<!-- bench:long -->\n")
    assert " environment steps in 128 environments: " in filled
    assert filled.endswith("\n<!-- /bench -->\nafter\n")
    assert "old" not in filled
    assert docs_tables.fill_blocks(filled) == filled


def test_a_page_on_disk_is_rewritten(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table:flat_loss -->\n<!-- /table -->\n")
    docs_tables.fill_page(str(page))
    assert page.read_text().startswith("<!-- table:flat_loss -->\n| changed | runs |")
    with pytest.raises(ConfigError, match="No such file"):
        docs_tables.fill_page(str(tmp_path / "missing.md"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- nothing:x -->\n<!-- /nothing -->", "no block 'nothing'; known are bench"),
        ("<!-- bench:x -->\n<!-- /bench -->", "block bench:x: the results have no 'x'"),
        ("<!-- bench:long -->\nno end", "a block has no end"),
        ("<!-- bench:long -->\n<!-- /table -->", "a block has no end"),
        ("<!-- returns:missing -->\n<!-- /returns -->", r"results/missing/\*.json: no such file"),
    ],
)
def test_unusable_blocks(text, message):
    with pytest.raises(ConfigError, match=message):
        docs_tables.fill_blocks(text)


def _cells(table):
    """Rows of the cells of a Markdown table, without header and rule."""
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_returns_are_those_of_the_summaries(summaries):
    rows = _cells(evaluation_tables.returns(summaries))
    assert len(rows) == len(summaries)
    for row, summary in zip(rows, summaries, strict=True):
        run, policy, acting, seed, final, worst, overall, episodes = row
        assert (run, policy, acting) == (
            summary["run"],
            summary["method"],
            summary["action_selection"],
        )
        assert int(seed) == summary["config"]["train"]["seed"]
        assert float(final.split("%")[0]) == round(100 * summary["final_fraction_of_optimum"], 1)
        goals = [goal["final_fraction_of_optimum"] for goal in summary["per_task"]]
        assert float(worst.rstrip("%")) == round(100 * min(goals), 1)
        assert float(overall.rstrip("%")) == round(100 * summary["fraction_of_optimum"], 1)
        assert episodes == str(summary["episodes_to_90_percent"] or "never")


def test_what_was_never_reached_says_so(summaries):
    (row,) = _cells(evaluation_tables.returns([summaries[0] | {"episodes_to_90_percent": None}]))
    assert row[-1] == "never"


def test_rewards_are_of_sampled_actions(summaries):
    rows = _cells(evaluation_tables.rewards(summaries))
    sampled = [s for s in summaries if s["action_selection"] == "sample"]
    assert [row[0] for row in rows] == [s["run"] for s in sampled]
    first = [round(goal["mean_return"], 1) for goal in sampled[0]["per_task"]]
    assert [float(x) for x in rows[0][-1].split()] == first


def test_rooms_say_which_room_it_was(summaries):
    first = summaries[0]
    (row,) = _cells(evaluation_tables.rooms([first]))
    env = first["config"]["env"]
    assert [int(cell) for cell in row[:3]] == [env["grid_size"], env["horizon"], env["split_seed"]]
    assert row[3] == first["action_selection"]
    assert float(row[4].split("%")[0]) == round(100 * first["final_fraction_of_optimum"], 1)
    assert row[-1] == first["commit"]


def test_phases_have_a_row_a_run_and_the_cost_is_the_first_ones(summaries):
    rows = _cells(evaluation_tables.phases(summaries))
    assert [row[0] for row in rows] == list(dict.fromkeys(s["run"] for s in summaries))
    timing = summaries[0]["timing"]
    assert float(rows[0][-2]) == timing["total_seconds"]
    said = evaluation_tables.cost(summaries)
    assert f"took {timing['total_seconds']:.0f} seconds" in said
    assert timing["hardware"] in said
    for longer, shorter in (("collect", "compile"), ("compile", "collect")):
        timing["seconds"] |= {longer: 70.0, shorter: 20.0}
        assert "70 s compiling and collecting side by side" in evaluation_tables.cost(summaries)


def _run(summary, run, split, **values):
    config = summary["config"] | {"env": summary["config"]["env"] | {"split_seed": split}}
    return summary | {"run": run, "config": config} | values


def _splits(summaries):
    """Three runs with greedy 1, 0.9, 0.8 and sampled 0.7, 0.6, 0.5 at the end."""
    by_acting = {s["action_selection"]: s for s in summaries[:2]}
    values = (("greedy", (1.0, 0.9, 0.8)), ("sample", (0.7, 0.6, 0.5)))
    return [
        _run(by_acting[acting], f"run_{i}", 5 + i, final_fraction_of_optimum=value)
        for acting, some in values
        for i, value in enumerate(some)
    ]


def test_splits_have_a_row_a_run_and_their_mean(summaries):
    *rows, mean = _cells(evaluation_tables.splits(_splits(summaries)))
    assert [row[:3] for row in rows] == [[f"run_{i}", "0", str(5 + i)] for i in range(3)]
    assert [row[3].split()[0] for row in rows] == ["100.0%", "90.0%", "80.0%"]
    assert [row[5].split()[0] for row in rows] == ["70.0%", "60.0%", "50.0%"]
    assert mean[0] == "mean of 3 runs"
    # All three runs drawn equal has a chance of 1/27 at either end: the interval is the range.
    assert mean[3] == "90.0% [80.0, 100.0]"
    assert mean[5] == "60.0% [50.0, 70.0]"


def test_splits_without_an_optimum_show_returns(summaries):
    unknown = {"final_fraction_of_optimum": None, "final_fraction_ci95": None}
    unknown |= {"mean_return_ci95": [6.0, 8.0]}
    tasks = [{"mean_return": 3.0, "final_fraction_of_optimum": None}, {"mean_return": 2.5}]
    without = [s | unknown | {"mean_return": 7.0, "per_task": tasks} for s in _splits(summaries)]
    *rows, mean = _cells(evaluation_tables.splits(without))
    assert all(
        row[3:] == ["7.00 [6.00, 8.00]", "2.50", "7.00 [6.00, 8.00]", "2.50"] for row in rows
    )
    assert mean[3] == "7.00 [7.00, 7.00]"


def test_a_split_is_not_shown_twice(summaries):
    with pytest.raises(ConfigError, match="run_0: two evaluations with greedy actions"):
        evaluation_tables.splits([*_splits(summaries), _splits(summaries)[0]])


def test_tasks_are_of_any_environment(summaries):
    no_regrets = {"first_regret": None, "source_first_regret": None}
    first = summaries[0] | {"env": "bandit", "mean_return": 31.25} | no_regrets
    unknown = first | {"final_fraction_of_optimum": None, "final_fraction_ci95": None}
    known_row, unknown_row = _cells(evaluation_tables.tasks([first, unknown]))
    assert known_row[1:4] == ["bandit", first["source"], first["action_selection"]]
    assert known_row[4] == f"{first['num_tasks']} held-out"
    assert known_row[6:] == ["31.25", "100.0% [100.0, 100.0]", "-", "-", first["commit"]]
    assert unknown_row[6:] == ["31.25", "-", "-", "-", first["commit"]]
    regrets = {"first_regret": 4.5, "source_first_regret": 5.0}
    with_regret = evaluation_tables.tasks([first | regrets, first])
    assert [row[8:10] for row in _cells(with_regret)] == [["4.50", "5.00"], ["-", "-"]]


def test_a_directory_may_hold_summaries_and_lists_of_them(tmp_path):
    (tmp_path / "b.json").write_text('[{"run": "x"}, {"run": "y"}]')
    (tmp_path / "a.json").write_text('{"run": "z"}')
    found = docs_tables.read_evaluations(str(tmp_path))
    assert [summary["run"] for summary in found] == ["z", "x", "y"]


@pytest.mark.parametrize("page", docs_tables.PAGES)
def test_what_a_page_links_to_exists(page):
    with open(page, encoding="utf-8") as file:
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read())
    assert targets
    missing = [t for t in targets if not os.path.exists(os.path.join(os.path.dirname(page), t))]
    assert missing == []


_FILE = re.compile(r"`(?:compad_jax/)?((?:\w+/)+\w+\.\w+)`")


def test_files_that_pages_name_exist():
    """Files of the package are named from its root, or from that of the repository."""
    missing, num_named = [], 0
    for page in sorted({*docs_tables.PAGES, *_PROSE}):
        with open(page, encoding="utf-8") as file:
            named = [x for x in _FILE.findall(file.read()) if not x.startswith(_MADE)]
        num_named += len(named)
        missing += [
            f"{page}: {name}"
            for name in named
            if not any(os.path.exists(os.path.join(root, name)) for root in (".", "docs", _PACKAGE))
        ]
    assert missing == []
    assert num_named > 20
