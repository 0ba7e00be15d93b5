"""Numbers of an evaluation against hand computation; what is not known is None, never NaN."""

import json
from typing import NamedTuple

import numpy as np
import pytest

from compad_jax.evaluation.statistics import (
    Returns,
    Source,
    bootstrap,
    fractions,
    mean_fraction,
    source_returns,
    summarise,
)

_NO_SOURCE = Source(np.zeros((0, 2, 1)), None, None)
_TASKS = np.array([[0, 0], [3, 4]])


def _outcome(optimum=(10.0, 4.0)):
    """Task 0 is solved from episode 3 on, task 1 gets 2 all along."""
    returns = np.zeros((20, 2, 4))
    returns[2:, 0] = 10.0
    returns[:, 1] = 2.0
    return Returns(returns, None if optimum is None else np.array(optimum))


def test_summary_against_hand_computation():
    source = Source(np.ones((3, 2, 1)), 2.2, 4.0)
    summary = summarise(_outcome(), _TASKS, source)
    assert summary["optimum_mean"] == 7.0
    assert summary["mean_return"] == pytest.approx((10 * 18 / 20 + 2) / 2)
    assert summary["final_mean_return"] == 6.0
    assert summary["mean_return_ci95"] == [2.0, 9.0]  # Two tasks: a resample may hold either.
    assert summary["final_mean_return_ci95"] == [2.0, 10.0]
    assert summary["regret"] == pytest.approx(7 - 5.5)
    assert summary["final_regret"] == pytest.approx(1.0)
    assert summary["source_regret"] == pytest.approx(4.8)
    assert summary["first_regret"] == pytest.approx(7 - 1)
    assert summary["source_first_regret"] == pytest.approx(7 - 1)
    assert summary["source_mean_return"] == 2.2 and summary["source_final_mean_return"] == 4.0
    assert summary["share_of_source_return"] == pytest.approx(2.5)
    assert summary["final_share_of_source_return"] == pytest.approx(1.5)
    assert summary["fraction_of_optimum"] == pytest.approx((18 / 20 + 0.5) / 2)
    assert summary["final_fraction_of_optimum"] == pytest.approx(0.75)
    assert summary["final_fraction_ci95"] == [0.5, 1.0]
    assert summary["episodes_to_90_percent"] is None
    assert summary["num_tasks_without_share"] == 0
    assert [t["task"] for t in summary["per_task"]] == [[0, 0], [3, 4]]
    assert [t["final_fraction_of_optimum"] for t in summary["per_task"]] == [1.0, 0.5]
    assert [t["mean_return"] for t in summary["per_task"]] == [9.0, 2.0]
    assert [t["final_mean_return"] for t in summary["per_task"]] == [10.0, 2.0]


def test_episodes_to_90_percent_counts_from_one():
    outcome = Returns(_outcome().returns[:, :1], np.array([10.0]))
    assert summarise(outcome, _TASKS[:1], _NO_SOURCE)["episodes_to_90_percent"] == 3


def test_a_task_whose_optimum_is_0_is_left_out_of_shares_and_counted():
    outcome = _outcome((10.0, 0.0))
    summary = summarise(outcome, _TASKS, _NO_SOURCE)
    assert summary["num_tasks_without_share"] == 1
    assert summary["fraction_of_optimum"] == pytest.approx(0.9)
    assert summary["final_fraction_ci95"] == [1.0, 1.0]
    assert summary["episodes_to_90_percent"] == 3
    assert summary["optimum_mean"] == 5.0 and summary["mean_return"] == pytest.approx(5.5)
    assert [t["final_fraction_of_optimum"] for t in summary["per_task"]] == [1.0, None]
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("optimum", [None, (0.0, 0.0)])
def test_without_an_optimum_there_are_plain_returns(optimum):
    summary = summarise(_outcome(optimum), _TASKS, _NO_SOURCE)
    unknown = (
        "fraction_of_optimum",
        "final_fraction_of_optimum",
        "final_fraction_ci95",
        "episodes_to_90_percent",
        "share_of_source_return",
        "source_regret",
        "source_first_regret",
    )
    assert all(summary[name] is None for name in unknown)
    assert summary["num_tasks_without_share"] == 2
    assert (summary["regret"] is None) == (optimum is None)
    assert summary["final_mean_return"] == 6.0
    json.dumps(summary, allow_nan=False)


def test_shares_of_the_optimum():
    returns = np.array([[[1.0, 3.0], [5.0, 5.0]]])
    np.testing.assert_allclose(fractions(returns, np.array([4.0, 0.0])), [[[0.25, 0.75]]])
    assert mean_fraction(returns, np.array([4.0, 10.0])) == pytest.approx(0.5)
    assert mean_fraction(returns, np.zeros(2)) is None and mean_fraction(returns, None) is None


class _Task(NamedTuple):
    key: np.ndarray
    rooms: dict


def test_a_task_of_parts_is_written_as_json():
    tasks = _Task(np.array([[0, 1], [2, 3]]), {"door": np.array([4.0, 0.5])})
    summary = summarise(_outcome(), tasks, _NO_SOURCE)
    assert summary["per_task"][1]["task"] == {"key": [2, 3], "rooms": {"door": 0.5}}
    assert json.loads(json.dumps(summary)) == summary


def test_episodes_of_a_source_have_any_length():
    # Two tasks, one stream each: episodes of 1, 3 and 2 steps; of 2, and one unfinished.
    reward = np.array([[[1, 0, 0, 2, 0, 4]], [[1, 1, 5, 5, 5, 5]]], np.float32)
    done = np.array([[[1, 0, 0, 1, 0, 1]], [[0, 1, 0, 0, 0, 0]]], bool)
    source = source_returns(reward, done)
    np.testing.assert_array_equal(source.curve, [[[1.0], [2.0]]])  # That both have finished.
    assert source.mean_return == pytest.approx(((1 + 2 + 4) / 3 + 2) / 2)
    assert source.final_mean_return == pytest.approx((4 + 2) / 2)
    nothing = source_returns(reward, done & False)
    assert nothing.curve.shape == (0, 2, 1) and nothing.mean_return is None


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


def test_bootstrap_draws_seeds_again_within_a_task():
    # One task: without another draw of its seeds the interval would have no width.
    values = np.random.default_rng(3).normal(size=(1, 100))
    low, high = bootstrap(values)
    expected = 2 * 1.96 * values.std() / np.sqrt(100)
    assert 0.7 * expected < high - low < 1.3 * expected
