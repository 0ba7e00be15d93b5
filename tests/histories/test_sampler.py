"""Windows cut from histories, against a plain loop over steps."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from compad_jax.histories.dataset import Dataset
from compad_jax.histories.sampler import SegmentPlan, cut_segments, plan_segments, sample_segments
from compad_jax.types import Transition
from tests.builders import override

_ROWS, _STEPS = 7, 40


def _numbered(num_rows=_ROWS, num_steps=_STEPS):
    """Histories whose every entry says which row and step it is of."""
    row, step = np.meshgrid(np.arange(num_rows), np.arange(num_steps), indexing="ij")
    return Dataset(
        transition=Transition(
            obs=jnp.asarray(np.stack([row, step], -1)),
            action=jnp.asarray(1000 * row + step + 1),
            reward=jnp.asarray(row + step / 64 + 1, jnp.float32),
            next_obs=jnp.asarray(np.stack([row, step + 1], -1)),
            done=jnp.asarray(step % 5 == 4),
        ),
        target=jnp.asarray(-1000 * row - step - 1),
        is_target=jnp.asarray(step % 3 > 0),
        floor=jnp.asarray(-row - step / 64, jnp.float32),
        task=jnp.arange(num_rows),
        num_rows=jnp.array(num_rows),
    )


def _plan(*bounds, whole_history=False):
    lows, highs = zip(*bounds, strict=True)
    return SegmentPlan(lows, highs, whole_history)


def _rows_and_steps(segments):
    """What the current states of all tokens say, int [..., S, L] each."""
    return np.asarray(segments.tokens.obs[..., 0]), np.asarray(segments.tokens.obs[..., 1])


_VARIABLE = _plan((3, 7), (3, 7), (1, 9))
_FIXED = _plan((8, 8), (8, 8), (11, 11))  # 27 of 40 steps: 14 starts, twice the rows.


@cache
def _sampler(plan, batch_size):
    return jax.jit(partial(sample_segments, plan=plan, batch_size=batch_size))


def _sample(plan, batch_size, seed=0, num_steps=_STEPS):
    """A batch from numbered histories, jitted as in training, as NumPy arrays."""
    dataset = _numbered(num_steps=num_steps)
    return jax.device_get(_sampler(plan, batch_size)(jax.random.key(seed), dataset))


@pytest.fixture(scope="module")
def variable():
    """Windows of segments of variable lengths, [2000, 3, 9]."""
    return _sample(_VARIABLE, 2000)


@pytest.fixture(scope="module")
def fixed():
    """Windows of segments of fixed lengths, [6000, 3, 11]."""
    return _sample(_FIXED, 6000)


def _oracle_cut(dataset, row, start, lengths, max_length):
    """Tokens of one window by a loop: lists [S, L] of dictionaries, None where padded."""
    data = jax.device_get(dataset)
    num_steps = data.floor.shape[1]
    segments, step = [], start
    for length in lengths:
        segment = []
        for i in range(max_length):
            if i >= length or step >= num_steps:
                segment.append(None)
                continue
            before = None
            if step > 0:
                before = jax.tree.map(lambda x, t=step - 1: x[row, t], data.transition)
            segment.append(
                {
                    "previous": before,
                    "obs": data.transition.obs[row, step],
                    "target": data.target[row, step],
                    "is_target": data.is_target[row, step],
                    "floor": data.floor[row, step],
                }
            )
            step += 1
        segments.append(segment)
    return segments


@pytest.fixture(scope="module")
def jitted_cut():
    return jax.jit(partial(cut_segments, _numbered(), max_length=9))


@pytest.mark.parametrize(
    ("start", "lengths"),
    [
        (0, (9, 4, 1)),
        (0, (1, 1, 1)),
        (13, (3, 9, 2)),
        (31, (5, 3, 1)),  # Ends with the last step.
        (36, (3, 9, 9)),  # Goes beyond it: the rest is masked.
        (39, (9, 9, 9)),
        (5, (9, 0, 9)),  # An empty segment.
    ],
)
def test_tokens_equal_the_oracle(jitted_cut, start, lengths):
    row = 3
    cut = jax.device_get(jitted_cut(jnp.array(row), jnp.array(start), jnp.array(lengths)))
    chex.assert_shape([cut.action, cut.mask, cut.floor, cut.tokens.is_first], (3, 9))
    chex.assert_shape([cut.tokens.obs, cut.tokens.previous.next_obs], (3, 9, 2))
    expected = _oracle_cut(_numbered(), row, start, lengths, 9)
    for s, i in np.ndindex(3, 9):
        token, where = expected[s][i], f"segment {s}, position {i}"
        assert cut.mask[s, i] == (token is not None), where
        if token is None:
            assert not cut.is_target[s, i], where
            continue
        assert cut.is_target[s, i] == token["is_target"], where
        np.testing.assert_array_equal(cut.tokens.obs[s, i], token["obs"], err_msg=where)
        assert cut.action[s, i] == token["target"], where
        assert cut.floor[s, i] == token["floor"], where
        assert cut.tokens.is_first[s, i] == (token["previous"] is None), where
        seen = jax.tree.map(lambda x, at=(s, i): x[at], cut.tokens.previous)
        before = token["previous"]
        if before is None:  # The action is due, so it must not be in the token.
            before = jax.tree.map(np.zeros_like, seen)
        chex.assert_trees_all_equal(seen, before)


def test_no_window_crosses_histories(variable):
    row, step = _rows_and_steps(variable)
    mask = variable.mask
    chex.assert_shape(mask, (2000, 3, 9))
    assert len(np.unique(row[:, 0, 0])) == _ROWS
    for window in range(200):
        real = mask[window]
        assert len(np.unique(row[window][real])) == 1
        np.testing.assert_array_equal(np.diff(step[window][real]), 1)  # None skipped or twice.
    np.testing.assert_array_equal(variable.action[mask], (-1000 * row - step - 1)[mask])
    np.testing.assert_array_equal(variable.floor[mask], (-row - step / 64)[mask])
    np.testing.assert_array_equal(variable.is_target, mask & (step % 3 > 0))
    np.testing.assert_array_equal(variable.tokens.is_first[mask], step[mask] == 0)
    before = variable.tokens.previous
    inner = mask & (step > 0)
    np.testing.assert_array_equal(before.obs[inner], np.stack([row, step - 1], -1)[inner])
    np.testing.assert_array_equal(before.next_obs[inner], variable.tokens.obs[inner])


def test_histories_are_drawn_uniformly_and_ends_as_often_as_the_middle(fixed):
    row, step = _rows_and_steps(fixed)
    row, start = row[:, 0, 0], step[:, 0, 0]
    assert start.max() == 13
    table = np.histogram2d(row, start, (_ROWS, 14), ((0, _ROWS), (0, 14)))[0]
    # A window of 27 may be drawn 13 steps beyond either end of the 40 and is moved inside.
    of_starts = len(row) * np.array([14, *[1] * 12, 14]) / 40
    of_rows = np.full(_ROWS, len(row) / _ROWS)
    assert scipy.stats.chisquare(table.sum(0), of_starts).pvalue > 1e-3
    assert scipy.stats.chisquare(table.sum(1), of_rows).pvalue > 1e-3
    expected = np.outer(of_rows, of_starts) / len(row)
    assert scipy.stats.chisquare(table, expected, axis=None).pvalue > 1e-3


def test_lengths_are_within_bounds_and_all_occur(variable):
    lengths = variable.mask.sum(-1)
    bounds = zip(_VARIABLE.min_lengths, _VARIABLE.max_lengths, strict=True)
    for s, (low, high) in enumerate(bounds):
        counts = np.bincount(lengths[:, s], minlength=high + 1)
        assert counts[:low].sum() == 0
        assert len(counts) == high + 1
        assert scipy.stats.chisquare(counts[low:]).pvalue > 1e-3
    correlation = np.corrcoef(lengths, rowvar=False)
    np.testing.assert_allclose(correlation, np.eye(3), atol=0.1)  # Drawn one by one.
    start = _rows_and_steps(variable)[1][:, 0, 0]
    assert start.min() == 0
    assert (start + lengths.sum(-1)).max() == _STEPS


def test_padding_is_on_the_right(variable):
    mask = variable.mask
    assert mask[..., 0].all()
    assert (mask[..., 1:] <= mask[..., :-1]).all()


def test_every_sample_trains_every_depth_once(fixed):
    np.testing.assert_array_equal(fixed.mask.sum(-1), np.tile([8, 8, 11], (6000, 1)))


def test_whole_history_covers_every_step_once():
    num_steps = 47
    plan = _plan(*[(5, 8)] * 10, whole_history=True)  # Enough if all are of the lowest length.
    segments = _sample(plan, 30, num_steps=num_steps)
    row, step = _rows_and_steps(segments)
    for window in range(30):
        mask = segments.mask[window]
        np.testing.assert_array_equal(step[window][mask], np.arange(num_steps))
        assert len(np.unique(row[window][mask])) == 1
    lengths = segments.mask.sum(-1)
    assert set(lengths[:, 0]) == {5, 6, 7, 8}
    assert lengths.max() == 8


_LENGTHS = (40, 12, 1, 27, 30, 40, 5)


@pytest.mark.parametrize("whole_history", [False, True])
def test_histories_of_any_length(whole_history):
    """Each is drawn as often as others, no step after its end is seen, and none is left out."""
    plan = _plan((8, 8), (8, 8), (11, 11))  # 27 steps: some histories are shorter.
    if whole_history:
        plan = _plan(*[(8, 8)] * 5, whole_history=True)
    dataset = _numbered()._replace(length=jnp.array(_LENGTHS))
    batch = jax.device_get(_sampler(plan, 4000)(jax.random.key(0), dataset))
    row, step = _rows_and_steps(batch)
    counts = np.bincount(row[:, 0, 0], minlength=_ROWS)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    for history, length in enumerate(_LENGTHS):
        mine = row[:, 0, 0] == history
        seen = step[mine][batch.mask[mine]]
        assert set(seen) == set(range(length))
        num_steps = min(length, 40 if whole_history else 27)
        np.testing.assert_array_equal(batch.mask[mine].sum((1, 2)), num_steps)
        assert not batch.is_target[mine][~batch.mask[mine]].any()
    starts = step[row[:, 0, 0] == 4][:, 0, 0]  # Of 30 steps: 4 starts, the ends more often.
    if not whole_history:
        expected = len(starts) * np.array([14, 1, 1, 14]) / 30
        assert scipy.stats.chisquare(np.bincount(starts), expected).pvalue > 1e-3


def test_lengths_that_are_all_whole_change_nothing(variable):
    dataset = _numbered()._replace(length=jnp.full(_ROWS, _STEPS))
    drawn = _sampler(_VARIABLE, 2000)(jax.random.key(0), dataset)
    chex.assert_trees_all_equal(jax.device_get(drawn), variable)


def test_key_decides(variable):
    chex.assert_trees_all_equal(_sample(_VARIABLE, 2000), variable)
    other = _sample(_VARIABLE, 2000, seed=1)
    first_actions = variable.action[:, 0, 0], other.action[:, 0, 0]
    assert (first_actions[0] != first_actions[1]).mean() > 0.9
    assert len(np.unique(first_actions[0])) > 100  # Windows differ within a batch.


@pytest.mark.parametrize(
    ("n_latent", "whole_history", "expected"),
    [
        (4, False, [(6, 10), (6, 10), (7, 12)]),
        (0, False, [(7, 12)]),  # AD has nothing to compress.
        (0, True, [(7, 12)] * 9),  # As many windows as 60 steps can need.
    ],
)
def test_plan(debug_config, n_latent, whole_history, expected):
    config = override(
        debug_config,
        model={"n_latent": n_latent},
        data={"whole_history": whole_history, "min_uncompressed_length": 7},
    )
    plan = plan_segments(config)
    assert list(zip(plan.min_lengths, plan.max_lengths, strict=True)) == expected
    assert plan.whole_history == whole_history


def test_plan_of_whole_histories_compresses_all_along(debug_config):
    lengths = {"min_compress_length": 8, "max_compress_length": 12}
    config = override(debug_config, data={"whole_history": True} | lengths)
    plan = plan_segments(config)
    assert (plan.min_lengths, plan.max_lengths) == ((8,) * 8, (12,) * 8)
    deeper = override(debug_config, data={"max_compression_depth": 4})
    assert len(plan_segments(deeper).min_lengths) == 5
