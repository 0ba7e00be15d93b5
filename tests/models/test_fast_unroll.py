"""The fast training loss is that of the plain `unroll`: value, gradient, logits and memories."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

from compad_jax.models import Before, DropoutKey, unroll, unroll_loss
from compad_jax.training.losses import smoothed_cross_entropy
from tests.builders import cut, make_model, override, random_transitions
from tests.models.rules import RULES, make_rule_model

_BATCH = 2
_token_loss = partial(smoothed_cross_entropy, smoothing=0.1)


def _make_batch(policy, lengths):
    """Segments and weights of their tokens."""
    history = random_transitions(jax.random.key(2), policy.spec, (_BATCH, sum(lengths)))
    segments = cut(history, lengths, 12)
    return segments, jax.random.uniform(jax.random.key(3), segments.mask.shape) * segments.mask


def _score(memories):
    """A number that depends on all real-valued parts of the memories."""
    leaves = jax.tree.leaves(memories)
    return sum(jnp.square(x).sum() for x in leaves if jnp.issubdtype(x.dtype, jnp.floating))


def _plain(policy, params, segments, weights):
    logits, memories = unroll(policy, params, segments)
    loss = (_token_loss(logits, segments.action) * weights).sum()
    return 3.0 * loss + _score(memories), (loss, logits * segments.mask[..., None], memories)


def _fast(policy, params, segments, weights, all_at_once, cuts):
    loss, (logits, memories) = unroll_loss(
        policy, params, segments, _token_loss, weights, all_at_once=all_at_once, cuts=cuts
    )
    return 3.0 * loss + _score(memories), (loss, logits * segments.mask[..., None], memories)


def _check(policy, params, lengths, ways=(True, False), cuts=()):
    batch = _make_batch(policy, lengths)
    differentiate = partial(jax.grad, argnums=1, has_aux=True)
    expected = jax.jit(differentiate(_plain), static_argnums=0)(policy, params, *batch)
    assert optax.tree.norm(expected[0]["head"]) > 0.1
    for all_at_once in ways:
        fast = jax.jit(differentiate(_fast), static_argnums=(0, 4, 5))
        found = fast(policy, params, *batch, all_at_once, cuts)
        chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=2e-5)


# These differ from others in how two arrays become one, which neither path sees.
_ALIKE = ("residual", "multiplicative", "gru", "quantised")


@pytest.mark.parametrize(
    "rule", [pytest.param(r, marks=pytest.mark.exhaustive) if r in _ALIKE else r for r in RULES]
)
def test_every_rule(debug_config, rule):
    _check(*make_rule_model(debug_config, rule, compress=12), [10, 7, 12], ways=[False])


@pytest.mark.parametrize(
    ("rule", "compress", "lengths", "cuts"),
    [
        ("slot_gate", 12, [10, 7, 12, 9], (7, 9)),  # All are padded to one length.
        ("slot_gate", 5, [5, 3, 12], (3, 14)),  # The last is longer than what is compressed.
        ("slot_gate", 5, [12], ()),
        ("none", 5, [12, 12], (11,)),  # AD: segments are windows.
    ],
)
def test_every_layout(debug_config, rule, compress, lengths, cuts):
    _check(*make_rule_model(debug_config, rule, compress), lengths, cuts=cuts)


def test_segments_are_decoded_no_further_than_the_next_cut(debug_config):
    policy, params = make_rule_model(debug_config, "slot_gate", 12)
    segments, weights = _make_batch(policy, [10, 7, 12, 9])
    run = partial(unroll_loss, policy, params, segments, _token_loss, weights, all_at_once=False)
    for cuts, expected in (((), [12, 12, 12, 12]), ((7, 9), [12, 7, 12, 9])):
        _, (logits, _) = run(cuts=cuts)
        np.testing.assert_array_equal((logits != 0).any((0, 3)).sum(-1), expected)


@pytest.mark.parametrize("all_at_once", [True, False])
def test_no_gradient_flows_through_the_logits_beside_a_loss(debug_config, all_at_once):
    policy, params = make_model(debug_config)
    segments, weights = _make_batch(policy, [10, 10])

    def logits(params):
        _, (logits, _) = unroll_loss(
            policy, params, segments, _token_loss, weights, all_at_once=all_at_once
        )
        return jnp.square(logits).sum()

    assert optax.tree.norm(jax.jit(jax.grad(logits))(params)) == 0


_MORE = pytest.mark.exhaustive


@pytest.mark.parametrize(
    ("rule", "all_at_once"),
    [
        ("none", False),
        ("running_mean", True),
        ("slot_gate", False),
        pytest.param("none", True, marks=_MORE),
        pytest.param("running_mean", False, marks=_MORE),
        pytest.param("slot_gate", True, marks=_MORE),
    ],
)
def test_shares_of_two_devices_add_up(debug_config, rule, all_at_once):
    """Inside a `shard_map`, even if the first memory is a constant or empty."""
    policy, params = make_rule_model(debug_config, rule)
    segments, weights = _make_batch(policy, [5, 3, 12])
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])

    def gradient(params, segments, weights):
        return jax.grad(
            lambda p: unroll_loss(
                policy, p, segments, _token_loss, weights, all_at_once=all_at_once
            )[0]
        )(params)

    def share(params, *batch):
        params = jax.lax.pcast(params, "data", to="varying")
        return jax.lax.psum(gradient(params, *batch), "data")

    everywhere, split = PartitionSpec(), PartitionSpec("data")
    shared = jax.jit(
        jax.shard_map(share, mesh=mesh, in_specs=(everywhere, split, split), out_specs=everywhere)
    )
    expected = jax.jit(gradient)(params, segments, weights)
    chex.assert_trees_all_close(
        jax.device_get(shared(params, segments, weights)),
        jax.device_get(expected),
        rtol=1e-4,
        atol=2e-5,
    )


def test_dropout_depends_on_the_key(debug_config):
    policy, params = make_model(override(debug_config, model={"tf_dropout": 0.5}))
    batch = _make_batch(policy, [10, 10])
    run = jax.jit(partial(unroll_loss, policy), static_argnums=2)
    segments, weights = batch
    keys = [DropoutKey(jax.random.key(k), jnp.arange(_BATCH)) for k in (0, 0, 1)]
    a, b, c = (run(params, segments, _token_loss, weights, dropout=k)[1].logits for k in keys)
    chex.assert_trees_all_equal(a, b)
    assert jnp.abs(a - c).max() > 1e-3


@pytest.mark.parametrize("all_at_once", [True, False])
def test_a_piece_goes_on_where_the_one_before_ended(debug_config, all_at_once):
    policy, params = make_rule_model(debug_config, "slot_gate")
    segments, weights = _make_batch(policy, [5, 3, 5, 12])
    run = partial(unroll_loss, policy, params, token_loss=_token_loss, all_at_once=all_at_once)
    whole, (logits, memories) = run(segments, weights=weights)
    first, last = (jax.tree.map(lambda x, s=s: x[:, s], (segments, weights)) for s in _CUTS)
    loss, _ = run(first[0], weights=first[1])
    before = Before(jax.tree.map(lambda x: x[1], memories), jnp.array(1))
    other_loss, (other_logits, other_memories) = run(last[0], weights=last[1], before=before)
    chex.assert_trees_all_close(loss + other_loss, whole, rtol=1e-5)
    chex.assert_trees_all_close(other_logits, logits[:, 2:], rtol=1e-5, atol=1e-5)
    expected = jax.tree.map(lambda x: x[1:], memories)
    chex.assert_trees_all_close(other_memories, expected, rtol=1e-5, atol=1e-5)


_CUTS = slice(0, 2), slice(1, 4)  # The second segment ends one piece and begins the next.
