import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import make_env
from compad_jax.models import make_policy, param_shapes
from compad_jax.models.policy import apply_method
from compad_jax.models.transformer import causal_mask
from tests.builders import make_model, override


def test_causal_mask():
    expected = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(causal_mask(2, 2), expected)


def test_ad_is_a_subtree_of_compad(debug_config):
    _, compad = make_model(debug_config)
    _, ad = make_model(override(debug_config, model={"n_latent": 0}))
    assert set(compad) - set(ad) == {"memory"}
    chex.assert_trees_all_equal_shapes({name: compad[name] for name in ad}, ad)


def test_the_original_architecture_has_the_expected_size(debug_config):
    config = override(
        debug_config,
        env={"grid_size": 9},
        data={"max_compress_length": 20, "max_uncompressed_length": 20},
        model={
            "tf_n_embd": 64,
            "tf_n_layer": 3,
            "tf_n_head": 4,
            "tf_dim_feedforward": 256,
            "n_latent": 20,
            "encoder_n_layer": 2,
            "encoder_n_head": 4,
        },
    )
    policy = make_policy(config, make_env(config.env).spec)
    params = param_shapes(policy)
    block = 2 * 64 + (64 * 192 + 192) + (64 * 64 + 64) + 2 * 64 + 2 * 64 * 256 + 256 + 64
    compress_block = block + 2 * 64 + (64 * 128 + 128)
    embedding = (6 * (9 + 4) + 5 + 3) * 64 + 20 * 64
    rest = 2 * 64 + (64 * 5 + 5) + 20 * 64 + 2 * 64
    expected = 3 * block + 2 * compress_block + embedding + rest
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


def test_bfloat16_computes_in_bfloat16_and_returns_float32(debug_config):
    config = override(debug_config, model={"dtype": "bfloat16"})
    policy, params = make_model(config)
    chex.assert_type(jax.tree.leaves(params), jnp.float32)
    memory = apply_method(policy, params, "initial_memory", 2)
    assert memory.dtype == jnp.bfloat16
    embeddings = jnp.ones((2, 5, config.model.tf_n_embd), jnp.bfloat16)
    logits, cache = apply_method(policy, params, "decode", memory, embeddings)
    assert logits.dtype == jnp.float32
    assert cache[0].key.dtype == jnp.bfloat16
    assert jnp.isfinite(logits).all()


def test_a_bfloat16_policy_has_logits_of_float32_resolution(debug_config):
    """Near 3.5, numbers of bfloat16 are multiples of 1/64."""
    policy, params = make_model(override(debug_config, model={"dtype": "bfloat16"}))
    head = {"kernel": params["head"]["kernel"] / 10, "bias": jnp.full(5, 3.5)}
    memory = apply_method(policy, params, "initial_memory", 2)
    embeddings = jax.random.normal(jax.random.key(0), (2, 5, policy.config.tf_n_embd))
    args = memory, embeddings.astype(jnp.bfloat16)
    logits, _ = apply_method(policy, {**params, "head": head}, "decode", *args)
    np.testing.assert_allclose(logits, 3.5, atol=0.5)
    assert (np.asarray(logits) * 64 % 1 != 0).mean() > 0.9
