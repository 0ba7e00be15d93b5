"""What is measured of made-up histories, against hand-computed values."""

import math
import re
from functools import partial

import jax
import numpy as np
import pytest

from compad_jax.diagnose.data import (
    Draws,
    describe_loss,
    describe_sampling,
    draw_windows,
    step_quantities,
)
from compad_jax.diagnose.verdicts import judge_room, judge_targets
from compad_jax.histories.dataset import make_datasets
from compad_jax.histories.sampler import make_sampler
from compad_jax.training.losses import loss_floor
from compad_jax.types import History, Segments, Tokens, Transition
from experiments.faults import sample_starts_only
from tests.builders import override

_GOALS, _STREAMS, _STEPS = 4, 3, 60
_UNIFORM = math.log(5)


def _histories(probs):
    """Histories whose observations say which row and step they are of."""
    shape = (_GOALS, _STREAMS, _STEPS)
    row = np.arange(_GOALS * _STREAMS).reshape(_GOALS, _STREAMS, 1)
    obs = np.stack(np.broadcast_arrays(row, np.arange(_STEPS)), -1)
    zeros = np.zeros(shape)
    transition = Transition(obs, zeros.astype(int), zeros, obs, zeros > 0)
    log_probs = np.broadcast_to(np.log(probs), (*shape, 5)).astype(np.float16)
    return History(transition, log_probs)


def _whole_histories(config):
    lengths = {f"{x}_length": 10 for x in ("min_compress", "max_compress")}
    lengths |= {f"{x}_length": 10 for x in ("min_uncompressed", "max_uncompressed")}
    return make_sampler(override(config, data={"whole_history": True, **lengths}))


def _measure(sample, probs, tasks=(1, 3)):
    """Draws, sampling and loss of histories with a source of given probabilities."""
    history, tasks = _histories(probs), np.array(tasks)
    dataset = make_datasets(history, {"": tasks}, partial(loss_floor, smoothing=0.1))[""]
    quantities = step_quantities(history, tasks)
    draws = draw_windows(sample, dataset, quantities, jax.random.key(0), num_batches=4)
    sampling = describe_sampling(draws, _STEPS, has_memory=True)
    return draws, sampling, describe_loss(draws, dataset, 5, has_memory=True)


def test_values_are_those_of_the_targets(debug_config):
    draws, _, _ = _measure(make_sampler(debug_config), np.full(5, 0.2))
    mask, obs = draws.segments.mask, draws.segments.tokens.obs
    assert mask.shape == (4, 8, 3, 12)
    np.testing.assert_array_equal(draws.values["step"][mask], obs[mask][:, 1])
    np.testing.assert_array_equal(draws.values["task"][mask], obs[mask][:, 0] // _STREAMS)
    assert set(np.unique(draws.values["task"][mask])) == {1, 3}
    assert len(np.unique(obs[:, :, 0, 0], axis=1)) == 4  # Batches differ.


def test_a_uniform_source_allows_nothing(debug_config):
    _, _, loss = _measure(make_sampler(debug_config), np.full(5, 0.2))
    for name in ("uniform", "floor", "floor_of_whole_histories", "entropy"):
        assert loss[name] == pytest.approx(_UNIFORM, abs=1e-3), name
    assert loss["best_accuracy"] == pytest.approx(0.2, abs=1e-3)
    np.testing.assert_allclose(loss["floor_by_depth"], [_UNIFORM] * 3, atol=1e-3)
    assert judge_room(loss).is_problem


def test_floors_of_a_known_source(debug_config):
    """Its first half is almost uniform, its second half has (.6, .1, .1, .1, .1)."""
    sharp = np.array([0.6, 0.1, 0.1, 0.1, 0.1])
    almost = np.array([0.21, 0.19, 0.2, 0.2, 0.2])
    probs = np.where(np.arange(_STEPS)[:, None] < _STEPS // 2, almost, sharp)
    entropy = -(sharp * np.log(sharp)).sum()
    smoothed = 0.9 * sharp + 0.02
    floor = -(smoothed * np.log(smoothed)).sum()
    _, _, loss = _measure(_whole_histories(debug_config), probs)
    assert loss["entropy"] == pytest.approx((_UNIFORM + entropy) / 2, abs=2e-3)
    assert loss["best_accuracy"] == pytest.approx(0.405, abs=1e-3)
    np.testing.assert_allclose(loss["floor_by_depth"], [_UNIFORM] * 3 + [floor] * 3, atol=2e-3)
    assert loss["floor"] == pytest.approx(loss["floor_of_whole_histories"], abs=1e-4)
    _, _, early = _measure(sample_starts_only(debug_config), probs)
    assert early["floor"] > loss["floor"] + 0.1
    assert early["floor_of_whole_histories"] == loss["floor_of_whole_histories"]


def test_uniform_actions_are_no_targets(debug_config):
    sharp = np.array([0.6, 0.1, 0.1, 0.1, 0.1])
    probs = np.where(np.arange(_STEPS)[:, None] < _STEPS // 2, 0.2, sharp)
    _, sampling, loss = _measure(_whole_histories(debug_config), probs)
    assert sampling["informative"] == 0.5
    assert (sampling["first_target"], sampling["last_target"]) == (0, 1)  # They are read.
    assert loss["entropy"] == pytest.approx(-(sharp * np.log(sharp)).sum(), abs=2e-3)
    assert loss["best_accuracy"] == pytest.approx(0.6, abs=1e-3)
    assert loss["floor"] == pytest.approx(loss["floor_of_whole_histories"], abs=1e-4)
    assert loss["floor_by_depth"][:3] == [None] * 3


def test_without_log_probabilities_floors_are_not_known(debug_config):
    history, tasks = _histories(np.full(5, 0.2))._replace(log_probs=None), np.array([1, 3])
    dataset = make_datasets(history, {"": tasks}, partial(loss_floor, smoothing=0.1))[""]
    quantities = step_quantities(history, tasks)
    sample = make_sampler(debug_config)
    draws = draw_windows(sample, dataset, quantities, jax.random.key(0), num_batches=2)
    facts = describe_loss(draws, dataset, 5, has_memory=True)
    assert facts.pop("uniform") == _UNIFORM
    assert facts.pop("floor_by_depth") == [None] * 3
    assert facts.pop("floor_by_position") == [None] * 12
    assert set(facts.values()) == {None}


def test_where_targets_come_from(debug_config):
    probs = np.where(np.arange(_STEPS)[:, None] < 32, 0.2, [0.96, 0.01, 0.01, 0.01, 0.01])
    _, sampling, loss = _measure(sample_starts_only(debug_config), probs)
    assert sampling["first_target"] == 0
    assert 0.4 < sampling["last_target"] <= 32 / 60
    assert sum(sampling["targets_by_tenth"][6:]) == 0
    verdict = judge_targets(sampling, loss)
    assert verdict.is_problem
    assert re.match(
        r"targets come only from the first 5\d% of the histories, .* random", verdict[1]
    )
    assert "(entropy 1.61 of 1.61 nats)" in verdict.text
    _, sampling, loss = _measure(_whole_histories(debug_config), probs)
    assert (sampling["first_target"], sampling["last_target"]) == (0, 1)
    np.testing.assert_allclose(sampling["targets_by_tenth"], [0.1] * 10, atol=1e-5)
    assert not judge_targets(sampling, loss).is_problem


def _by_hand():
    """One batch of two windows, 2 + 3 and 1 real tokens, with a reward in the padding."""
    mask = np.array([[[1, 1, 0], [1, 1, 1]], [[1, 0, 0], [0, 0, 0]]], bool)[None]
    reward = np.array([[[0, 0, 9], [0, 1, 0]], [[0, 7, 0], [0, 0, 0]]], float)[None]
    step = np.array([[[0, 1, 0], [2, 3, 4]], [[8, 0, 0], [0, 0, 0]]], float)[None]
    none = np.zeros_like(step)
    tokens = Tokens(Transition(none, none, reward, none, none), none > 0, none)
    return Draws(Segments(tokens, none, mask, mask, none), {"step": step})


def test_sampling_by_hand():
    facts = describe_sampling(_by_hand(), 10, has_memory=True)
    assert (facts["num_windows"], facts["num_targets"]) == (2, 6)
    assert (facts["first_target"], facts["last_target"]) == (0, 0.9)
    sixths = np.array([1, 1, 1, 1, 1, 0, 0, 0, 1, 0]) / 6
    np.testing.assert_allclose(facts["targets_by_tenth"], sixths, atol=1e-5)
    assert facts["targets_by_depth"] == [0.5, 0.5]
    assert facts["segment_lengths"] == {"1": 0.33333, "2": 0.33333, "3": 0.33333}
    assert facts["windows_without_reward"] == pytest.approx(1 / 2)
    assert facts["targets_after_reward"] == pytest.approx(2 / 6)
    assert facts["padding"] == pytest.approx(1 / 2)


def test_without_memory_every_segment_stands_alone():
    facts = describe_sampling(_by_hand(), 10, has_memory=False)
    assert facts["num_windows"] == 3  # The empty one does not count.
    assert facts["targets_by_depth"] == [1]
    assert facts["windows_without_reward"] == pytest.approx(2 / 3)
    assert facts["targets_after_reward"] == pytest.approx(2 / 6)
    assert facts["padding"] == pytest.approx(1 / 2)
