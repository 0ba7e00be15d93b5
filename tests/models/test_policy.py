import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import make_env
from compad_jax.models import make_policy, param_shapes
from compad_jax.models.tokens import first_tokens, num_features, token_features
from compad_jax.models.transformer import causal_mask
from tests.builders import make_model, override, random_transitions, tokens_of


def test_token_features_say_everything_once(debug_config):
    spec = make_env(debug_config.env).spec
    history = random_transitions(jax.random.key(0), spec, (2, 7))
    tokens = tokens_of(history)
    features = np.asarray(token_features(tokens, spec))
    chex.assert_shape(features, (2, 7, num_features(spec)))
    previous, t = history, 4

    def place(obs):
        one_hot = [np.eye(size)[x] for x, size in zip(obs, spec.obs_space.sizes, strict=True)]
        waves = [
            [np.cos(np.pi * k * (int(x) + 0.5) / size) for k in (1, 2, 3, 4)]
            for x, size in zip(obs, spec.obs_space.sizes, strict=True)
        ]
        return np.concatenate([one_hot[0], waves[0], one_hot[1], waves[1]])

    expected = np.concatenate(
        [
            place(history.obs[0, t]),
            place(previous.obs[0, t - 1]),
            place(previous.next_obs[0, t - 1]),
            np.eye(spec.num_actions)[previous.action[0, t - 1]],
            [previous.reward[0, t - 1], previous.done[0, t - 1], 0.0],
        ]
    )
    np.testing.assert_allclose(features[0, t], expected, atol=1e-6)


def test_first_token_shows_the_current_state_and_nothing_else(debug_config):
    spec = make_env(debug_config.env).spec
    obs = jnp.array([[[3, 1]]])
    features = np.asarray(token_features(first_tokens(obs), spec))[0, 0]
    num_current = sum(size + 4 for size in spec.obs_space.sizes)
    assert features[:num_current].any()
    assert not features[num_current:-1].any()
    assert features[-1] == 1
    history = random_transitions(jax.random.key(0), spec, (1, 3))
    at_start = np.asarray(token_features(tokens_of(history), spec))[0, 0]
    assert not at_start[num_current:-1].any()  # What `roll` left there is hidden.


def test_causal_mask():
    expected = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    np.testing.assert_array_equal(causal_mask(2, 2), expected)


def test_ad_is_a_subtree_of_compad(debug_config):
    _, compad = make_model(debug_config)
    _, ad = make_model(override(debug_config, model={"n_latent": 0}))
    assert set(compad) - set(ad) == {"compressor", "initial_latents"}
    chex.assert_trees_all_equal_shapes({name: compad[name] for name in ad}, ad)


def test_original_architecture_has_the_expected_size(debug_config):
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
    memory = policy.apply({"params": params}, 2, method="initial_memory")
    assert memory.dtype == jnp.bfloat16
    embeddings = jnp.ones((2, 5, config.model.tf_n_embd), jnp.bfloat16)
    logits, cache = policy.apply({"params": params}, memory, embeddings, method="decode")
    assert logits.dtype == jnp.float32
    assert cache[0].key.dtype == jnp.bfloat16
    assert jnp.isfinite(logits).all()
