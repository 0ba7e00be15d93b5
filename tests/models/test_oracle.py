"""Compressor, memory rules and decoder against NumPy: both paths could share a mistake."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.models.policy import apply_method
from tests.models import numpy_policy
from tests.models.rules import make_rule_model

_LENGTHS = (7, 4)  # Real tokens of the two histories of a batch.


def _make_model(debug_config, rule, gate_scale=1.0):
    """A model of two layers in each stack, with noise on all parameters: no bias is zero."""
    policy, params = make_rule_model(debug_config, rule, tf_n_layer=2, encoder_n_layer=2)
    noise = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: np.asarray(x + 0.2 * noise.normal(size=x.shape), x.dtype), params
    )
    if "gate" in params.get("memory", {}):
        params["memory"]["gate"] = jax.tree.map(lambda x: gate_scale * x, params["memory"]["gate"])
    return policy, params


def _embeddings(policy, seed):
    return np.random.default_rng(seed).normal(size=(2, 7, policy.config.tf_n_embd))


def _write_twice(policy, params, segments):
    """The memory after two segments [B, L, D], and what it shows."""
    mask = np.arange(7) < np.array(_LENGTHS)[:, None]

    @jax.jit
    def write(first, second):
        memory = apply_method(policy, params, "initial_memory", 2)
        for segment in (first, second):
            memory = apply_method(policy, params, "write", memory, segment, mask)
        return memory, apply_method(policy, params, "read", memory)

    return write(*(jnp.asarray(x, jnp.float32) for x in segments))


@pytest.mark.parametrize("rule", list(numpy_policy.UPDATES))
def test_two_compressions(debug_config, rule):
    policy, params = _make_model(debug_config, rule)
    segments = [_embeddings(policy, seed) for seed in (1, 2)]
    written, _ = _write_twice(policy, params, segments)
    exact = jax.tree.map(np.float64, params)
    for row, length in enumerate(_LENGTHS):
        memory = exact["memory"]["initial_latents"]
        for segment in segments:
            heads = policy.config.encoder_n_head
            memory = numpy_policy.write(exact, rule, memory, segment[row, :length], heads)
        np.testing.assert_allclose(written[row], memory, atol=1e-4)


@pytest.mark.parametrize("rule", ["recurrent", "cache"])
def test_two_segments_of_other_families(debug_config, rule):
    """What is kept after two segments, and what is shown of it."""
    policy, params = _make_model(debug_config, rule)
    segments = [_embeddings(policy, seed) for seed in (1, 2)]
    written, shown = _write_twice(policy, params, segments)
    exact, config = jax.tree.map(np.float64, params), policy.config
    p = exact["memory"]
    for row, length in enumerate(_LENGTHS):
        placed = [x[row, :length] + exact["position"][:length] for x in segments]
        if rule == "recurrent":
            memory = np.zeros(config.tf_dim_feedforward)
            for segment in placed:
                memory = numpy_policy.recurrent_write(p, memory, segment)
            expected = numpy_policy.recurrent_read(p, memory, config.tf_n_embd)
        else:
            memory = np.zeros((config.encoder_n_layer + 1, config.n_latent, config.tf_n_embd))
            for segment in placed:
                memory = numpy_policy.cache_write(p, memory, segment, config.tf_n_head)
            expected = numpy_policy.cache_read(p, memory)
        np.testing.assert_allclose(written[row], memory, atol=1e-4)
        np.testing.assert_allclose(shown[row], expected, atol=1e-4)


def test_decoder(debug_config):
    policy, params = _make_model(debug_config, "replace")
    embeddings = _embeddings(policy, 1)
    latents = np.random.default_rng(2).normal(size=(2, 4, policy.config.tf_n_embd))
    args = jnp.asarray(latents, jnp.float32), jnp.asarray(embeddings, jnp.float32)
    logits, _ = jax.jit(lambda *x: apply_method(policy, params, "decode", *x))(*args)
    exact = jax.tree.map(np.float64, params)
    for row in range(2):
        heads = policy.config.tf_n_head
        expected = numpy_policy.decode(exact, latents[row], embeddings[row], heads)
        np.testing.assert_allclose(logits[row], expected, atol=1e-4)


def test_a_shut_slot_holds_exactly_and_an_open_one_is_replaced(debug_config):
    """A gate need not be far in its tail for that: shares below 1/4 or above 3/4 suffice."""
    policy, params = _make_model(debug_config, "slot_gate", gate_scale=2.0)
    embeddings = jnp.asarray(_embeddings(policy, 1), jnp.float32)
    memory = jax.random.normal(jax.random.key(0), (2, 4, policy.config.tf_n_embd))
    mask = jnp.ones((2, 7), bool)
    new = jax.jit(lambda *x: apply_method(policy, params, "write", *x))(memory, embeddings, mask)
    exact = jax.tree.map(np.float64, params)
    held = (np.asarray(new) == np.asarray(memory)).all(-1)
    heads = policy.config.encoder_n_head
    segment = np.float64(embeddings) + exact["position"][:7]
    compressor = exact["memory"]["compressor"]
    candidates = [
        numpy_policy.candidate(compressor, np.float64(m), s, heads)
        for m, s in zip(memory, segment, strict=True)
    ]
    replaced = (np.abs(np.asarray(new) - np.array(candidates)) < 1e-4).all(-1)
    assert held.any()
    assert replaced.any()
    assert not (held & replaced).any()
