"""Generated blocks of pages: from results files alone, and up to date."""

import json

import pytest

from compad_jax.config.checks import ConfigError
from experiments import comparison_blocks, pages


@pytest.fixture
def summaries():
    with open("results/small_vs_ad/comparison.json", encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize("page", pages.PAGES)
def test_committed_pages_say_what_the_committed_results_say(page):
    with open(page, encoding="utf-8") as file:
        text = file.read()
    assert "<!-- /" in text
    assert pages.fill_blocks(text, page) == text, "run python -m experiments.pages"


def test_blocks_are_replaced_and_prose_is_kept():
    text = "before\n<!-- bench:long -->\nold\n<!-- /bench -->\nafter\n"
    filled = pages.fill_blocks(text)
    assert filled.startswith("before\n<!-- bench:long -->\n1,0")
    assert filled.endswith("\n<!-- /bench -->\nafter\n")
    assert "old" not in filled
    assert pages.fill_blocks(filled) == filled


def test_a_page_on_disk_is_rewritten(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table:flat_loss -->\n<!-- /table -->\n")
    pages.fill_page(str(page))
    assert page.read_text().startswith("<!-- table:flat_loss -->\n| changed | runs |")
    with pytest.raises(ConfigError, match="No such file"):
        pages.fill_page(str(tmp_path / "missing.md"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- nothing:x -->\n<!-- /nothing -->", "no block 'nothing'; known are bench"),
        ("<!-- bench:x -->\n<!-- /bench -->", "block bench:x: the results have no 'x'"),
        ("<!-- bench:long -->\nno end", "a block has no end"),
        ("<!-- bench:long -->\n<!-- /table -->", "a block has no end"),
        ("<!-- returns:missing -->\n<!-- /returns -->", "missing/comparison.json: No such"),
    ],
)
def test_unusable_blocks(text, message):
    with pytest.raises(ConfigError, match=message):
        pages.fill_blocks(text)


def _cells(table):
    """Rows of the cells of a Markdown table, without header and rule."""
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_returns_are_those_of_the_summaries(summaries):
    rows = _cells(comparison_blocks.returns(summaries))
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
        assert int(episodes) == summary["episodes_to_90_percent"]


def test_what_was_never_reached_says_so(summaries):
    (row,) = _cells(comparison_blocks.returns([summaries[0] | {"episodes_to_90_percent": None}]))
    assert row[-1] == "never"


def test_rewards_are_of_sampled_actions(summaries):
    rows = _cells(comparison_blocks.rewards(summaries))
    sampled = [s for s in summaries if s["action_selection"] == "sample"]
    assert [row[0] for row in rows] == [s["run"] for s in sampled]
    first = [round(goal["mean_return"], 1) for goal in sampled[0]["per_task"]]
    assert [float(x) for x in rows[0][-1].split()] == first


def test_rooms_say_which_room_it_was(summaries):
    first = summaries[0]
    (row,) = _cells(comparison_blocks.rooms([first]))
    env = first["config"]["env"]
    assert [int(cell) for cell in row[:3]] == [env["grid_size"], env["horizon"], env["split_seed"]]
    assert row[3] == first["action_selection"]
    assert float(row[4].split("%")[0]) == round(100 * first["final_fraction_of_optimum"], 1)
    assert row[-1] == first["commit"]


def test_phases_have_a_row_a_run_and_the_cost_is_the_first_ones(summaries):
    rows = _cells(comparison_blocks.phases(summaries))
    assert [row[0] for row in rows] == list(dict.fromkeys(s["run"] for s in summaries))
    timing = summaries[0]["timing"]
    assert float(rows[0][-2]) == timing["total_seconds"]
    said = comparison_blocks.cost(summaries)
    assert f"took {timing['total_seconds']:.0f} seconds" in said
    assert timing["hardware"] in said
    for longer, shorter in (("collect", "compile"), ("compile", "collect")):
        timing["seconds"] |= {longer: 70.0, shorter: 20.0}
        assert "70 s compiling and collecting side by side" in comparison_blocks.cost(summaries)
