"""Spreads and shares by hand; products counted by hand and on real forward passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from benchmarks.measure import Spread, forward_flops, product_flops, rate, share, spread
from compad_jax.backend import sharding
from compad_jax.models import unroll
from compad_jax.models.tokens import num_features
from tests.builders import cut, make_model, override, random_transitions


def test_spread_rate_and_share_by_hand():
    took = spread([4.0, 1.0, 2.0, 3.0, 5.0])
    assert took == Spread(3.0, 2.0, 4.0)
    assert rate(12.0, took) == Spread(4.0, 3.0, 6.0)
    # A tenth of spread in the part, none in the whole; then both.
    assert share(Spread(10.0, 9.0, 12.0), Spread(20.0, 20.0, 20.0)) == pytest.approx(
        (0.5, 0.45, 0.6)
    )
    both = share(Spread(10.0, 7.0, 13.0), Spread(20.0, 12.0, 28.0))
    assert both == pytest.approx((0.5, 0.25, 0.75))  # hypot(0.3, 0.4) = 0.5.


@pytest.fixture
def model(debug_config):
    """Width 16, one layer with a feed-forward layer of 32; 4 latents."""
    config = override(debug_config, data={"max_uncompressed_length": 10})
    return make_model(config)


def _segments(policy, lengths, padded):
    history = random_transitions(jax.random.key(0), policy.spec, (2, sum(lengths)))
    return cut(history, lengths, padded)


def _decode_by_hand(spec, tokens):
    """Products of embedding, one decoder layer over 4 latents and the tokens, and the head."""
    width, positions = 16, 4 + tokens
    embed = 2 * num_features(spec) * width * tokens
    dense = 2 * width * (4 * width + 2 * 32) * positions
    scores_and_mixing = 2 * 2 * width * positions * positions
    return embed + dense + scores_and_mixing + 2 * width * spec.num_actions * tokens


def test_a_window_that_is_not_compressed_by_hand(model):
    policy, params = model
    flops = forward_flops(policy, params, _segments(policy, [10], 10), [7])
    # The program may spare what nobody reads of the latents' positions, and no more.
    spared = 2 * 16 * (2 * 16 + 2 * 32) * 4 + 2 * 2 * 16 * 4 * 11
    by_hand = _decode_by_hand(policy.spec, 7)
    assert by_hand - spared <= flops <= by_hand


def test_segments_add_up_and_padding_counts_nothing(model):
    policy, params = model
    short, padded = _segments(policy, [8, 8, 8], 8), _segments(policy, [8, 8, 8], 10)
    flops = forward_flops(policy, params, padded, [8, 8, 8])
    one, two, three = (forward_flops(policy, params, padded, [8] * n) for n in (1, 2, 3))
    assert three - two == two - one > one  # A compression and a segment; the last is not.
    traced = jax.jit(lambda p, s: unroll(policy, p, s).logits).trace(params, short)
    last_compression = two - 2 * one  # Which `unroll` does and nothing needs.
    of_one_window = product_flops(traced.jaxpr.jaxpr) / 2
    assert flops == pytest.approx(of_one_window - last_compression)


def test_every_pass_of_a_loop_counts():
    weights = jnp.ones((64, 64))

    def power(x):
        return jax.lax.scan(lambda x, _: (x @ weights, None), x, length=7)[0]

    assert product_flops(jax.jit(power).trace(weights).jaxpr.jaxpr) == 7 * 2 * 64**3


def test_branches_recomputation_and_batches():
    x = jnp.ones((4, 8))

    def flops(function, *args):
        return product_flops(jax.jit(function).trace(*args).jaxpr.jaxpr)

    branches = [lambda x: x @ x.T @ x, lambda x: x]
    assert flops(lambda x: jax.lax.cond(x[0, 0] > 0, *branches, x), x) == 2 * 2 * 4 * 4 * 8
    assert flops(lambda x, y: jnp.einsum("bij,bjk->bik", x, y), x[None], x.T[None]) == 2 * 16 * 8
    # Forward and two gradients; recomputing adds one more.
    function = lambda x: (jnp.sin(x @ x.T) ** 2).sum()  # noqa: E731
    plain = flops(jax.grad(function), x)
    assert flops(jax.grad(jax.checkpoint(function)), x) == plain + 2 * 16 * 8


def test_products_inside_a_shard_map_are_one_devices():
    mesh = sharding.make_mesh()
    x = np.ones((8 * mesh.size, 16), np.float32)
    split = PartitionSpec("data")
    by_device = jax.shard_map(lambda x: x @ x.T, mesh=mesh, in_specs=split, out_specs=split)
    assert product_flops(jax.jit(by_device).trace(x).jaxpr.jaxpr) == 2 * 8 * 8 * 16
