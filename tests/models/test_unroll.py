"""What is special about `unroll` beside what every memory rule must do."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.models import unroll
from tests.builders import cut, make_model, override, random_transitions


def _reach(config, lengths, target):
    """Does each input token [S, L] change the logits at `target` (segment, position)?"""
    policy, params = make_model(config)
    history = random_transitions(jax.random.key(3), policy.spec, (1, sum(lengths)))
    segments = cut(history, lengths, config.data.max_uncompressed_length)

    def logit(reward):
        tokens = segments.tokens
        tokens = tokens._replace(previous=tokens.previous._replace(reward=reward))
        logits = unroll(policy, params, segments._replace(tokens=tokens)).logits
        return logits[0, *target].sum()

    gradient = jax.jit(jax.grad(logit))(segments.tokens.previous.reward)
    return np.abs(np.asarray(gradient[0])) > 1e-9


def test_bptt_depth_cuts_the_gradient(debug_config):
    lengths = [6, 6, 6, 6]
    full = _reach(debug_config, lengths, (3, 0))
    cut_at_two = _reach(override(debug_config, model={"bptt_depth": 2}), lengths, (3, 0))
    assert full[:3, 1:6].all()
    assert not cut_at_two[0].any()  # The memory is cut before the last two compressions.
    assert cut_at_two[1:3, :6].all()


def test_dropout_depends_on_the_key_and_differs_between_segments(debug_config):
    config = override(debug_config, model={"tf_dropout": 0.5, "memory_update": "none"})
    policy, params = make_model(config)
    history = random_transitions(jax.random.key(6), policy.spec, (2, 6))
    first = cut(history, [6], 12)
    repeated = jax.tree.map(lambda x: jnp.concatenate([x, x], axis=1), first)
    run = jax.jit(unroll, static_argnums=0)
    a, b, c = (run(policy, params, repeated, jax.random.key(k)).logits for k in (0, 0, 1))
    chex.assert_trees_all_equal(a, b)
    assert jnp.abs(a - c).max() > 1e-3
    assert jnp.abs(a[:, 0] - a[:, 1]).max() > 1e-3  # Equal segments, without a memory.
    plain = run(policy, params, repeated).logits
    chex.assert_trees_all_close(plain[:, 0], plain[:, 1], atol=1e-6)
