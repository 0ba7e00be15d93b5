"""The seed's criteria on made-up runs."""

import numpy as np
import pytest

from compad_jax.config import Config
from compad_jax.criteria import seed_criteria
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
    return {row["name"]: row for row in seed_criteria(metrics, _returns(means), _CONFIG)}


def test_all_pass():
    rows = _judge([_line(500), _line(1000, loss=0.45, floor=0.4)])
    assert all(row["passed"] is True for row in rows.values())
    assert rows["train loss, halfway"] == {
        "name": "train loss, halfway",
        "target": "< 0.8",
        "value": 0.7,
        "passed": True,
        "floor": 0.3,
    }
    assert (rows["train loss, end"]["value"], rows["train loss, end"]["floor"]) == (0.45, 0.4)
    halfway = rows["test loss, halfway"]
    assert (halfway["value"], halfway["floor"], halfway["target"]) == (0.9, 0.2, "< 1")
    assert rows["test accuracy, halfway"]["value"] == 0.45
    assert rows["mean evaluation reward"]["value"] == 2.5
    assert rows["share of goals with reward above 1"]["value"] == 1.0
    assert len(rows) == 7


@pytest.mark.parametrize(
    ("name", "half", "last"),
    [
        ("train loss, halfway", {"loss": 0.8}, {}),  # The limit itself does not pass.
        ("train accuracy, halfway", {"accuracy": 0.5}, {}),
        ("test loss, halfway", {"held_out_loss": 1.0}, {}),
        ("test accuracy, halfway", {"held_out_accuracy": 0.4}, {}),
        ("train loss, end", {}, {"loss": 0.5}),
        ("train loss, end", {}, {"loss": float("nan")}),
    ],
)
def test_one_fails(name, half, last):
    rows = _judge([_line(500, **half), _line(1000, **{"loss": 0.45} | last)])
    assert [row["name"] for row in rows.values() if row["passed"] is False] == [name]


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
        _line(800, loss=0.5),
    ]
    rows = _judge(metrics)
    assert rows["train loss, halfway"]["value"] == 0.3
    assert rows["train loss, end"]["value"] == 0.5


def test_nothing_measured_is_neither_passed_nor_failed():
    rows = _judge([{"step": 500, "loss": 0.1, "accuracy": 0.9}])
    unknown = {name for name, row in rows.items() if row["passed"] is None}
    assert unknown == {
        "train loss, halfway",
        "train accuracy, halfway",
        "test loss, halfway",
        "test accuracy, halfway",
        "train loss, end",
    }
    assert all(rows[name]["value"] is None for name in unknown)
    assert rows["mean evaluation reward"]["passed"] is True
