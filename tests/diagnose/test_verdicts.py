"""Verdicts on hand-made numbers, every outcome of each."""

import math
import re

import pytest

from compad_jax.diagnose import verdicts

_UNIFORM = math.log(5)
_WIDE = {"first_target": 0.0, "last_target": 1.0, "targets_by_tenth": [0.1] * 10}
_LOSS = {"floor": 1.24, "floor_of_whole_histories": 1.24, "entropy": 1.1, "uniform": _UNIFORM}
_UNKNOWN = {"uniform": _UNIFORM, "floor": None, "floor_of_whole_histories": None}
_MEMORY = {"as_is": 0.5, "zeroed": 0.5, "of_another_task": 0.5}


def _source(curve):
    return {"returns": [20 * x for x in curve], "fraction_of_optimum": curve}


@pytest.mark.parametrize(
    ("verdict", "is_problem", "text"),
    [
        (
            verdicts.judge_source(_source([0.03, 0.5, 0.94])),
            False,
            "source learns: 3% of .* 94% in its last",
        ),
        (
            verdicts.judge_source(_source([0.30, 0.31])),
            True,
            "hardly learns, 30% .*31%.* nothing to distil",
        ),
        (verdicts.judge_source(_source([0.30])), True, "holds 1 whole episodes"),
        # Without an optimum, or with one of 0, returns are judged.
        (
            verdicts.judge_source(_source([-0.25, -0.05]) | {"fraction_of_optimum": None}),
            False,
            "source learns: a return of -5 .* -1 in its last",
        ),
        (
            verdicts.judge_source(_source([0.0, 0.0]) | {"fraction_of_optimum": None}),
            True,
            "hardly learns, a return of 0",
        ),
        # Without log-probabilities there are no floors.
        (verdicts.judge_targets(_WIDE, _UNKNOWN), False, "all parts .*10% to 10% from each tenth$"),
        (
            verdicts.judge_targets(_WIDE | {"last_target": 0.16}, _UNKNOWN),
            True,
            "only from the first 16% of the histories$",
        ),
        (verdicts.judge_room(_UNKNOWN), False, "not known.* 1.61"),
        (verdicts.judge_loss({"loss": 1.6, "floor": None}, _UNIFORM), True, "is 1.60 nats"),
        (verdicts.judge_loss({"loss": 0.5, "floor": None}, _UNIFORM), False, "is 0.50 nats"),
        (
            verdicts.judge_transfer(
                {"loss": 0.5, "floor": None}, {"loss": 0.8, "floor": None}, _UNIFORM
            ),
            True,
            "^0.80 nats on held-out tasks: 0.30 of them",
        ),
        (verdicts.judge_targets(_WIDE, _LOSS), False, "all parts .*10% to 10%.* 1.24"),
        (
            verdicts.judge_targets(
                _WIDE | {"last_target": 0.16}, _LOSS | {"floor": 1.58, "entropy": 1.6}
            ),
            True,
            r"only from the first 16% .*still random \(entropy 1.60 of 1.61 nats\); "
            "their floor is 1.58, that of whole ones 1.24",
        ),
        (
            verdicts.judge_targets(_WIDE | {"first_target": 0.7}, _LOSS | {"entropy": 0.5}),
            True,
            "only from 70% to 100% of the histories, where the source prefers some",
        ),
        (
            verdicts.judge_targets(_WIDE, _LOSS | {"floor": 1.5}),
            True,
            "harder to predict than whole .* 1.50",
        ),
        (verdicts.judge_room(_LOSS | {"best_accuracy": 0.6}), False, "1.61, .* 1.24, .* 60%"),
        (verdicts.judge_room(_LOSS | {"floor": 1.6, "best_accuracy": 0.2}), True, "almost nothing"),
        (
            verdicts.judge_rewards({"windows_without_reward": 0.59, "targets_after_reward": 0.2}),
            True,
            "59% of the windows hold no reward; 20% of",
        ),
        (
            verdicts.judge_rewards({"windows_without_reward": 0.0, "targets_after_reward": 0.9}),
            False,
            "rewards are seen: 0% .* 90%",
        ),
        (
            verdicts.judge_depths([0.3, 0.3, 0.4], has_memory=True),
            False,
            "balanced: 0 to 2 .*30.0%",
        ),
        (
            verdicts.judge_depths([0.9, 0.08, 0.02], has_memory=True),
            True,
            "90% .* exactly 0 .*2.0%",
        ),
        (verdicts.judge_depths([1.0], has_memory=True), True, "not trained"),
        (verdicts.judge_depths([1.0], has_memory=False), False, "AD has no memory"),
        (verdicts.judge_padding(0.0), False, "padding: 0%"),
        (verdicts.judge_padding(0.4), False, "padding: 40% .*costs time"),
        (
            verdicts.judge_loss({"loss": 1.26, "floor": 1.24}, _UNIFORM),
            False,
            "0.02 nats above .* 95% of the way .*: learned",
        ),
        (
            verdicts.judge_loss({"loss": 1.54, "floor": 1.24}, _UNIFORM),
            True,
            "0.30 .*not yet learned",
        ),
        # Close to its floor, but no better than a guess.
        (
            verdicts.judge_loss({"loss": 1.61, "floor": 1.58}, _UNIFORM),
            True,
            "0.03 .*not yet learned",
        ),
        (
            verdicts.judge_transfer(
                {"loss": 0.5, "floor": 0.47}, {"loss": 0.8, "floor": 0.47}, _UNIFORM
            ),
            True,
            "0.33 nats .* 0.30 of them",
        ),
        (
            verdicts.judge_transfer(
                {"loss": 0.5, "floor": 0.47}, {"loss": 0.6, "floor": 0.55}, _UNIFORM
            ),
            False,
            "0.05 nats .* as good as",
        ),
        (verdicts.judge_gradients({"decoder": 0.3, "compressor": 0.1}), False, "every part .* 0.3"),
        (
            verdicts.judge_gradients({"decoder": 0.3, "compressor": 0.0}),
            True,
            "the compressor .* 0",
        ),
        (verdicts.judge_gradients({"decoder": 0.0}), True, "the decoder"),
        (verdicts.judge_memory(_MEMORY), True, "not used: zeroing it costs 0.00"),
        (
            verdicts.judge_memory(_MEMORY | {"zeroed": 0.81, "of_another_task": 0.9}),
            False,
            "the memory is used: zeroing it costs 0.31 nats, that of another task 0.40",
        ),
        (verdicts.judge_memory(_MEMORY | {"zeroed": 0.81}), True, "says nothing of the task"),
        (verdicts.judge_memory(None), True, "not tested"),
    ],
)
def test_verdicts(verdict, is_problem, text):
    assert re.search(text, verdict.text), verdict.text
    assert verdict.is_problem == is_problem
