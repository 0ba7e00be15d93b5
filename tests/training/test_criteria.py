"""The original system's criteria on made-up runs."""

import numpy as np
import pytest

from compad_jax.config import Config
from compad_jax.training.criteria import original_criteria, return_criteria, training_criteria
from tests.builders import override

_CONFIG = override(Config(), train={"train_timesteps": 1000})


def _line(step, **values):
    measured = {
        "loss": 0.7,
        "floor": 0.3,
        "accuracy": 0.6,
        "held_out_loss": 0.9,
        "held_out_floor": 0.2,
        "held_out_accuracy": 0.45,
    }
    return {"step": step} | measured | values


def _returns(means):
    """Returns [E, G, R] = [4, 8, 2] whose means over episodes and seeds are as given."""
    spread = np.array([-1.0, 1.0, -2.0, 2.0])[:, None, None] * np.array([1.0, 3.0])
    return np.asarray(means, float)[None, :, None] + spread


def _judge(metrics, means=(2.5,) * 8):
    return {row["name"]: row for row in original_criteria(metrics, _returns(means), _CONFIG, 5)}


def test_all_pass():
    rows = _judge([_line(500), _line(1000, loss=0.45, floor=0.4)])
    assert all(row["passed"] is True for row in rows.values())
    assert rows["train loss, halfway"] == {
        "name": "train loss, halfway",
        "target": "< 0.8",
        "value": 0.7,
        "passed": True,
        "floor": 0.3,
        "possible": True,
    }
    assert (rows["train loss, end"]["value"], rows["train loss, end"]["floor"]) == (0.45, 0.4)
    halfway = rows["test loss, halfway"]
    assert (halfway["value"], halfway["floor"], halfway["target"]) == (0.9, 0.2, "< 1")
    assert rows["test accuracy, halfway"]["value"] == 0.45
    assert rows["mean evaluation reward"]["value"] == 2.5
    assert rows["share of goals with reward above 1"]["value"] == 1.0
    assert len(rows) == 12


@pytest.mark.parametrize(
    ("name", "half", "last"),
    [
        ("train loss, halfway", {"loss": 0.8}, {}),  # The limit itself does not pass.
        ("train accuracy, halfway", {"accuracy": 0.5}, {}),
        ("test loss, halfway", {"held_out_loss": 1.0}, {}),
        ("test accuracy, halfway", {"held_out_accuracy": 0.4}, {}),
        ("train loss, end", {}, {"loss": 0.5}),
        ("train accuracy, end", {}, {"accuracy": 0.5}),
        ("test loss, end", {}, {"held_out_loss": 1.0}),
        ("test accuracy, end", {}, {"held_out_accuracy": 0.4}),
    ],
)
def test_one_fails(name, half, last):
    rows = _judge([_line(500, **half), _line(1000, **{"loss": 0.45} | last)])
    assert [row["name"] for row in rows.values() if row["passed"] is False] == [name]


def test_nan_fails():
    rows = _judge([_line(500), _line(1000, loss=float("nan"))])
    failed = [row["name"] for row in rows.values() if row["passed"] is False]
    assert failed == ["train loss moves by step 2,000", "train loss, end"]


def test_reward_and_share_of_goals():
    metrics = [_line(500), _line(1000, loss=0.1)]
    rows = _judge(metrics, means=(1.1, 1.1, 1.1, 1.1, 11.0, 1.0, 1.0, 0.0))
    assert rows["share of goals with reward above 1"]["value"] == 5 / 8
    assert rows["share of goals with reward above 1"]["passed"] is True  # At least 5 of 8.
    assert rows["mean evaluation reward"]["passed"] is True
    rows = _judge(metrics, means=(1.1, 1.1, 1.1, 1.1, 1.0, 1.0, 1.0, 0.0))
    assert rows["share of goals with reward above 1"]["passed"] is False
    assert rows["mean evaluation reward"]["passed"] is False
    assert _judge(metrics, means=(2.0,) * 8)["mean evaluation reward"]["passed"] is False


def test_lines_nearest_to_half_and_end_count():
    metrics = [
        _line(340, loss=0.2),
        _line(450, loss=0.3),
        {"step": 500, "loss": 0.31, "accuracy": 0.9},  # No held-out loss was measured.
        _line(600, loss=0.4),
        _line(1000, loss=0.5),
    ]
    rows = _judge(metrics)
    assert rows["train loss, halfway"]["value"] == 0.3
    assert rows["train loss, end"]["value"] == 0.5


def test_nothing_measured_is_neither_passed_nor_failed():
    rows = _judge([{"step": 500, "loss": 0.1, "accuracy": 0.9}])
    unknown = {name for name, row in rows.items() if row["passed"] is None}
    assert unknown == {
        f"{part} {metric}, {when}"
        for part in ("train", "test")
        for metric in ("loss", "accuracy")
        for when in ("halfway", "end")
    }
    assert all(rows[name]["value"] is None for name in unknown)
    assert rows["mean evaluation reward"]["passed"] is True


def test_a_training_under_way_is_judged_as_far_as_it_got():
    rows = {r["name"]: r["passed"] for r in training_criteria([_line(400)], _CONFIG, 5)}
    assert rows["train loss moves by step 2,000"] is True
    assert rows["train loss, halfway"] is None
    rows = {r["name"]: r["passed"] for r in training_criteria([_line(600)], _CONFIG, 5)}
    assert rows["train loss, halfway"] is True
    assert rows["train loss, end"] is None
    assert {r["passed"] for r in training_criteria([], _CONFIG, 5)} == {None}


def test_what_has_to_happen_by_a_step_is_judged_there():
    config = override(_CONFIG, train={"train_timesteps": 40_000})
    flat = {"loss": 1.6, "accuracy": 0.2}
    late = [_line(1_900, **flat), _line(2_100), _line(9_900, accuracy=0.3), _line(10_100)]
    rows = {r["name"]: r for r in training_criteria(late, config, 5)}
    assert rows["train loss moves by step 2,000"]["value"] == 1.6
    assert rows["train loss moves by step 2,000"]["passed"] is False
    assert rows["train accuracy by step 10,000"]["value"] == 0.3
    assert rows["train accuracy by step 10,000"]["passed"] is False


def test_a_target_below_the_floor_is_impossible():
    rows = _judge([_line(500, floor=0.81, loss=0.9), _line(1000, floor=0.81)])
    assert rows["train loss, halfway"]["possible"] is False
    assert rows["test loss, halfway"]["possible"] is True
    assert rows["train accuracy, halfway"]["possible"] is None


def test_more_is_asked_of_standard_ad():
    returns = _returns((2.5,) * 8)
    assert return_criteria(returns, _CONFIG)[0]["passed"] is True
    assert return_criteria(returns, override(_CONFIG, model={"n_latent": 0}))[0]["passed"] is False
