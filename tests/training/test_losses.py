"""Losses by hand, and the two exact statements about smoothing as properties."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compad_jax.training.losses import (
    count_true,
    loss_floor,
    smoothed_cross_entropy,
    undo_smoothing,
)

_NUM_ACTIONS = 5
_cross_entropy = jax.jit(smoothed_cross_entropy)
_floor = jax.jit(loss_floor)
_undo = jax.jit(undo_smoothing)
_SMOOTHING = st.floats(0, 0.9)
_LOGITS = hnp.arrays(
    np.float32, (4, _NUM_ACTIONS), elements=st.floats(-6, 6, width=32, allow_subnormal=False)
)


def _log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    action = jnp.array([0, 1])
    plain = _cross_entropy(logits, action, 0.0)
    np.testing.assert_allclose(plain, [np.log(2), np.log(10)], rtol=1e-5)
    smoothed = _cross_entropy(logits, action, 0.3)
    # Targets are 0.8, 0.1, 0.1 and 0.1, 0.8, 0.1.
    expected = [
        -0.8 * np.log(0.5) - 0.2 * np.log(0.25),
        -0.9 * np.log(0.1) - 0.1 * np.log(0.8),
    ]
    np.testing.assert_allclose(smoothed, expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_uniform_prediction_costs_log_of_the_number_of_actions(smoothing):
    loss = _cross_entropy(jnp.zeros((2, 3, 5)), jnp.ones((2, 3), int), smoothing)
    chex.assert_shape(loss, (2, 3))
    np.testing.assert_allclose(loss, np.log(5), rtol=1e-6)


def test_cross_entropy_is_float32_whatever_comes_in():
    logits, action = jnp.array([[3.0, 1.0]], jnp.bfloat16), jnp.array([1], jnp.int8)
    loss = _cross_entropy(logits, action, 0.1)
    chex.assert_type(loss, jnp.float32)
    exact = _cross_entropy(jnp.array([[3.0, 1.0]]), jnp.array([1]), 0.1)
    np.testing.assert_allclose(loss, exact, rtol=1e-6)


def test_cross_entropy_refuses_shapes_that_do_not_match():
    with pytest.raises(AssertionError):
        _cross_entropy(jnp.zeros((3, 4, 5)), jnp.zeros((4, 3), int), 0.1)


def test_floor_by_hand():
    log_probs = jnp.log(jnp.array([[1.0, 0.0], [0.5, 0.5]]))  # -inf is allowed.
    np.testing.assert_allclose(_floor(log_probs, 0.0), [0, np.log(2)], atol=1e-6)
    expected = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    np.testing.assert_allclose(_floor(log_probs, 0.2), [expected, np.log(2)], rtol=1e-5)


def test_floor_of_stored_log_probs_is_float32():
    chex.assert_type(_floor(jnp.zeros((3, 2), jnp.float16), 0.1), jnp.float32)


@jax.jit
def _expected_loss(source_logits, model_logits, smoothing):
    """Mean loss of a model over actions that the source draws."""
    losses = [
        _cross_entropy(model_logits, jnp.full(4, action), smoothing)
        for action in range(_NUM_ACTIONS)
    ]
    return (jax.nn.softmax(source_logits) * jnp.stack(losses, -1)).sum(-1)


@settings(deadline=None, derandomize=True)
@given(source=_LOGITS, model=_LOGITS, smoothing=_SMOOTHING)
def test_no_model_falls_below_the_floor(source, model, smoothing):
    floor = _floor(_log_softmax(source), smoothing)
    assert (np.asarray(_expected_loss(source, model, smoothing)) >= floor - 1e-4).all()


@settings(deadline=None, derandomize=True)
@given(source=_LOGITS, smoothing=_SMOOTHING)
def test_the_floor_is_reached_by_the_smoothed_source(source, smoothing):
    probs = np.exp(_log_softmax(source))
    best = np.log((1 - smoothing) * probs + smoothing / _NUM_ACTIONS)
    np.testing.assert_allclose(
        _expected_loss(source, best, smoothing), _floor(_log_softmax(source), smoothing), atol=1e-4
    )


@settings(deadline=None, derandomize=True)
@given(logits=_LOGITS, shift=st.floats(-5, 5), smoothing=_SMOOTHING)
def test_undoing_inverts_smoothing(logits, shift, smoothing):
    probs = np.exp(_log_softmax(logits))
    smoothed = np.log((1 - smoothing) * probs + smoothing / _NUM_ACTIONS) + shift
    undone = np.exp(_undo(smoothed, smoothing))
    np.testing.assert_allclose(undone, probs, atol=2e-5)
    np.testing.assert_allclose(undone.sum(-1), 1, rtol=1e-5)


def test_undoing_cuts_off_what_lies_below_the_smoothing():
    q = jnp.array([0.95, 0.04, 0.01])  # Smoothing of 0.09 gives every action 0.03.
    p = np.array([0.92, 0.01, 0.0])
    undone = _undo(jnp.log(q), 0.09)
    np.testing.assert_allclose(np.exp(undone), p / p.sum(), rtol=1e-4)
    assert undone[2] == -jnp.inf
    drawn = jax.random.categorical(jax.random.key(0), undone, shape=(1000,))
    assert set(np.unique(drawn)) == {0, 1}


def test_undoing_leaves_a_uniform_prediction_usable():
    """Float error may push all of q below eps / A; a policy must come out all the same."""
    for smoothing in (0.1, 0.3, 0.6):
        for logits in (jnp.zeros(5), jnp.full(5, 0.1), jnp.zeros(3), jnp.zeros(7)):
            policy = np.exp(_undo(logits, smoothing))
            np.testing.assert_allclose(policy, 1 / len(logits), rtol=1e-3)


def test_count_true():
    mask = jnp.array([[True, True, False], [True, False, False]])
    assert count_true(mask) == 3
    np.testing.assert_array_equal(count_true(mask, axis=(1,)), [2, 1])
    np.testing.assert_array_equal(count_true(mask, axis=(0,)), [2, 1, 1])  # A divisor: never 0.


def test_shares_of_the_devices_add_up_to_the_mean():
    """They have unequal numbers of tokens, so a mean of means would be another number."""
    x = jnp.array([[1.0, 2.0, 3.0], [6.0, 7.0, 8.0]])
    mask = jnp.array([[True, True, True], [True, False, False]])
    share = jax.vmap(lambda x, m: (x * m).sum() / count_true(m, axis_name="data"), axis_name="data")
    np.testing.assert_allclose(share(x, mask), [6 / 4, 6 / 4])
