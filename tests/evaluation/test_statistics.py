import csv

import numpy as np
import pytest

from compad_jax.evaluation.statistics import Returns, bootstrap, summarise, write_curve


def _outcome():
    """Task 0 is solved from episode 3 on, task 1 gets half of its optimum all along."""
    returns = np.zeros((20, 2, 4))
    returns[2:, 0] = 10.0
    returns[:, 1] = 2.0
    return Returns(returns, np.array([10.0, 4.0]))


def test_summary_against_hand_computation(debug_config):
    tasks = np.array([[0, 0], [3, 4]])
    summary = summarise(_outcome(), tasks)
    assert summary["optimum_mean"] == 7.0
    assert summary["mean_return"] == pytest.approx((10 * 18 / 20 + 2) / 2)
    assert summary["fraction_of_optimum"] == pytest.approx((18 / 20 + 0.5) / 2)
    assert summary["final_fraction_of_optimum"] == pytest.approx(0.75)
    assert summary["episodes_to_90_percent"] is None
    assert [t["task"] for t in summary["per_task"]] == [[0, 0], [3, 4]]
    assert [t["final_fraction_of_optimum"] for t in summary["per_task"]] == [1.0, 0.5]
    assert [t["mean_return"] for t in summary["per_task"]] == [9.0, 2.0]
    low, high = summary["final_fraction_ci95"]
    assert low == 0.5 and high == 1.0  # Two tasks: a resample may hold either alone.


def test_episodes_to_90_percent_counts_from_one(debug_config):
    outcome = Returns(_outcome().returns[:, :1], np.array([10.0]))
    assert summarise(outcome, np.array([[0, 0]]))["episodes_to_90_percent"] == 3


def test_bootstrap_covers_the_mean_at_its_rate():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        task_mean = rng.normal(size=(20, 1))
        low, high = bootstrap(task_mean + 0.1 * rng.normal(size=(20, 4)))
        hits += low < 0 < high
    assert 50 <= hits <= 60


def test_seeds_of_a_task_do_not_count_as_independent():
    rng = np.random.default_rng(2)
    few = rng.normal(size=(8, 1))
    low, high = bootstrap(np.repeat(few, 50, axis=1))
    assert high - low > 2 * 1.96 * few.std() / np.sqrt(8) * 0.7


def test_curve_has_a_line_an_episode(tmp_path):
    outcome = _outcome()
    write_curve(str(tmp_path), outcome, np.array([0.25, 0.5]), np.arange(20))
    with open(tmp_path / "curve.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["episode"]) for row in rows] == list(range(1, 21))
    assert float(rows[0]["fraction"]) == 0.25
    assert float(rows[5]["fraction"]) == 0.75
    assert float(rows[5]["low"]) <= 0.75 <= float(rows[5]["high"])
    assert [row["source_fraction"] for row in rows[:3]] == ["0.250000", "0.500000", ""]
    assert rows[7]["num_compressions"] == "7"
