"""Operations counted by hand, by formula, in a traced program, and by XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from benchmarks import bench_flops
from compad_jax.backend import sharding
from compad_jax.config import ModelConfig
from compad_jax.envs.protocol import EnvSpec
from compad_jax.models import Policy, make_policy, unroll
from compad_jax.models.memory.rules import ReplaceMemory
from compad_jax.models.tokens import num_features
from tests.builders import cut, make_model, override, random_transitions

_SPEC = EnvSpec(num_actions=2, obs_sizes=(3,), horizon=4, reward_levels=(0.0, 1.0))


def _tiny(**changes):
    model = {
        "tf_n_embd": 2,
        "tf_n_layer": 2,
        "tf_n_head": 1,
        "tf_dim_feedforward": 3,
        "n_latent": 1,
        "encoder_n_layer": 1,
        "encoder_n_head": 1,
    }
    return Policy(
        ModelConfig(**(model | changes)),
        _SPEC,
        window=2,
        compress_length=1,
        memory_factory=ReplaceMemory,
    )


# Of a layer: 2 * 2 * (query, key, value 6 + output 2 + feed-forward 6) = 56 a position, 8 a
# pair of query and key, 16 for the keys and values of a position alone.
_EMBED = 2 * 20 * 2  # Of a token with 20 features.
_COMPRESS_2 = 2 * 16 + 1 * (56 + 8 * 3)
_DECODE_2 = (3 * 56 + 8 * (1 + 2 + 3)) + (16 + 2 * 56 + 8 * 5) + 2 * 8
_DECODE_1 = (2 * 56 + 8 * (1 + 1 + 1)) + (16 + 56 + 8 * 2) + 8


def test_useful_operations_of_training_by_hand():
    assert num_features(_SPEC) == 20
    forward = 3 * _EMBED + _COMPRESS_2 + _DECODE_2 + _DECODE_1
    assert bench_flops.train_flops(_tiny(), np.array([[2, 1]])) == 3 * forward
    # An empty segment costs nothing, and nothing is compressed for it.
    alone = 3 * (2 * _EMBED + _DECODE_2)
    assert bench_flops.train_flops(_tiny(), np.array([[2, 0]])) == alone
    both = np.array([[2, 1], [2, 0]])
    assert bench_flops.train_flops(_tiny(), both) == 3 * forward + alone


def test_gate_and_ad_by_hand():
    gated = bench_flops.compress_flops(_tiny(memory_update="multiplicative").config, np.array(2))
    assert gated == _COMPRESS_2 + 2 * 4 * 2
    ad = _tiny(n_latent=0)
    assert bench_flops.compress_flops(ad.config, np.array(2)) == 0
    assert bench_flops.decode_flops(ad.config, _SPEC, np.array(2)) == 2 * (112 + 8 * 3) + 16


def test_useful_operations_of_acting_by_hand():
    """A window of two: one token is compressed, one is kept, one is read."""
    read = 2 * (56 + 8 * 3) + 8
    compress = 16 + 56 + 8 * 2
    reopen = (2 * 56 + 8 * 3) + 2 * 16
    assert bench_flops.act_flops(_tiny()) == _EMBED + read + compress + reopen
    assert bench_flops.cache_bytes(_tiny()) == 2 * 2 * 3 * 2 * 4  # Keys and values, layers, ...


def test_a_real_forward_pass_does_the_useful_operations_and_little_more(debug_config):
    """Nothing is padded here: beyond the formula are masked pairs and the latents' outputs."""
    config = override(debug_config, data={"max_uncompressed_length": 10})
    policy, params = make_model(config)
    assert make_policy(config, policy.spec) == policy
    segments = cut(random_transitions(jax.random.key(0), policy.spec, (2, 30)), [10] * 3, 10)
    traced = jax.jit(lambda p, s: unroll(policy, p, s).logits).trace(params, segments)
    executed = bench_flops.product_flops(traced.jaxpr.jaxpr)
    useful = bench_flops.train_flops(policy, np.full((2, 3), 10)) / 3
    assert useful < executed < 1.4 * useful


def test_loops_count_in_full_and_xla_counts_their_body_once():
    weights = jnp.ones((64, 64))

    def power(x):
        return jax.lax.scan(lambda x, _: (x @ weights, None), x, length=7)[0]

    traced = jax.jit(power).trace(weights)
    counts = bench_flops.count(traced, traced.lower().compile(), 1)
    once = 2 * 64**3
    assert counts.executed == 7 * once
    assert counts.loops_once == once
    assert counts.xla == pytest.approx(once, rel=0.01)


def test_branches_recomputation_and_batches():
    x = jnp.ones((4, 8))

    def flops(function, *args):
        return bench_flops.product_flops(jax.jit(function).trace(*args).jaxpr.jaxpr)

    branches = [lambda x: x @ x.T @ x, lambda x: x]
    assert flops(lambda x: jax.lax.cond(x[0, 0] > 0, *branches, x), x) == 2 * 2 * 4 * 4 * 8
    assert flops(lambda x, y: jnp.einsum("bij,bjk->bik", x, y), x[None], x.T[None]) == 2 * 16 * 8
    # Forward and two gradients; recomputing adds one more.
    function = lambda x: (jnp.sin(x @ x.T) ** 2).sum()  # noqa: E731
    plain = flops(jax.grad(function), x)
    assert flops(jax.grad(jax.checkpoint(function)), x) == plain + 2 * 16 * 8


def test_every_device_counts():
    mesh = sharding.make_mesh()
    x = jnp.ones((8 * mesh.size, 16))
    split = PartitionSpec("data")
    share = jax.shard_map(lambda x: x @ x.T, mesh=mesh, in_specs=split, out_specs=split)
    traced = jax.jit(share).trace(x)
    counts = bench_flops.count(traced, traced.lower().compile(), mesh.size)
    assert counts.executed == mesh.size * 2 * 8 * 8 * 16
    assert counts.xla == pytest.approx(counts.executed, rel=0.01)
