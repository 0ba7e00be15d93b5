"""The most valuable tests: what is trained is what acts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from compad_jax.models import init_window, observe, unroll, unroll_loss
from compad_jax.training.losses import smoothed_cross_entropy
from tests.builders import cut, make_model, override, random_transitions, tokens_of

_BATCH, _STEPS = 2, 50
_unroll = jax.jit(lambda *a, **k: unroll(*a, **k).logits, static_argnums=0)


def _roll(policy, params, tokens):
    """Logits [B, T, A] of the acting path, and the number of compressions before each."""

    def step(window, token):
        window, logits = observe(policy, params, window, token)
        return window, (logits, window.num_compressions)

    one_by_one = jax.tree.map(lambda x: jnp.swapaxes(x[:, :, None], 0, 1), tokens)
    run = jax.jit(lambda x: jax.lax.scan(step, init_window(policy, params, _BATCH), x))
    _, (logits, compressions) = run(one_by_one)
    chex.assert_shape(logits, (_STEPS, _BATCH, policy.spec.num_actions))
    return np.swapaxes(np.asarray(logits), 0, 1), np.asarray(compressions)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("n_latent", "memory_update", "compress", "window"),
    [
        (4, "replace", 12, 12),  # All of a window is compressed: no padding.
        (4, "replace", 5, 12),  # A part stays, and training pads shorter segments.
        (4, "gated", 5, 12),
        (0, "replace", 12, 12),  # AD: a window starts anew.
        (0, "replace", 5, 12),  # AD: a window slides.
    ],
)
def test_rolling_equals_training(debug_config, n_latent, memory_update, compress, window):
    config = override(
        debug_config,
        data={
            "min_compress_length": 1,
            "max_compress_length": compress,
            "max_uncompressed_length": window,
        },
        model={"n_latent": n_latent, "memory_update": memory_update},
    )
    policy, params = make_model(config)
    history = random_transitions(jax.random.key(1), policy.spec, (_BATCH, _STEPS))
    rolled, compressions = _roll(policy, params, tokens_of(history))
    assert compressions[-1] >= 3
    last = compressions[-1]
    # Where only the last segment can be long, every depth compiles anew: two must do.
    for depth in range(last + 1) if compress == window or not n_latent else (1, last):
        steps = np.flatnonzero(compressions == depth)
        lengths = [compress] * depth + [min(window, _STEPS - depth * compress)]
        if compress == window or not n_latent:
            lengths += [0] * (last - depth)
        logits = _unroll(policy, params, cut(history, lengths, window))
        chex.assert_shape(logits, (_BATCH, len(lengths), window, policy.spec.num_actions))
        trained = np.asarray(logits)[:, depth, steps - depth * compress]
        np.testing.assert_allclose(rolled[:, steps], trained, atol=1e-4)


def test_rolling_depends_on_what_was_compressed(debug_config):
    policy, params = make_model(debug_config)
    history = random_transitions(jax.random.key(1), policy.spec, (_BATCH, _STEPS))
    changed = history._replace(reward=history.reward.at[:, 0].add(3.0))
    before, _ = _roll(policy, params, tokens_of(history))
    after, _ = _roll(policy, params, tokens_of(changed))
    assert np.abs(before[:, 0] - after[:, 0]).max() == 0
    assert np.abs(before[:, -1] - after[:, -1]).max() > 1e-4


def test_one_by_one_equals_all_at_once(debug_config):
    policy, params = make_model(debug_config)
    history = random_transitions(jax.random.key(2), policy.spec, (_BATCH, _STEPS))
    segments = cut(history, [10, 7, 12, 9], 12)

    def loss(params, all_at_once):
        logits = unroll(policy, params, segments, all_at_once=all_at_once).logits
        return jnp.square(logits).mean(), logits

    gradient = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
    gradient_a, logits_a = gradient(params, True)
    gradient_b, logits_b = gradient(params, False)
    chex.assert_trees_all_close(logits_a, logits_b, atol=1e-5)
    chex.assert_trees_all_close(gradient_a, gradient_b, atol=1e-5)


@pytest.mark.parametrize("all_at_once", [True, False])
@pytest.mark.parametrize(
    ("n_latent", "compress", "lengths"),
    [
        (4, 12, [10, 7, 12, 9]),  # All are padded to one length.
        (4, 5, [5, 5, 12]),  # The last one is longer than what a compression takes.
        (4, 12, [9]),
        (0, 12, [10, 12]),
    ],
)
def test_loss_and_its_gradient_are_those_of_the_logits(
    debug_config, n_latent, compress, lengths, all_at_once
):
    """Differentiating segment by segment is the same as differentiating everything at last."""
    config = override(
        debug_config,
        data={"min_compress_length": 1, "max_compress_length": compress},
        model={"n_latent": n_latent},
    )
    policy, params = make_model(config)
    history = random_transitions(jax.random.key(2), policy.spec, (_BATCH, sum(lengths)))
    segments = cut(history, lengths, 12)
    weights = jax.random.uniform(jax.random.key(3), segments.mask.shape) * segments.mask

    def token_loss(logits, action):
        return smoothed_cross_entropy(logits, action, 0.1)

    def plain(params):
        logits, memories = unroll(policy, params, segments, all_at_once=True)
        loss = (token_loss(logits, segments.action) * weights).sum()
        return 3.0 * loss + jnp.square(memories).sum(), (loss, logits, memories)

    def ours(params):
        loss, (logits, memories) = unroll_loss(
            policy, params, segments, token_loss, weights, all_at_once=all_at_once
        )
        return 3.0 * loss + jnp.square(memories).sum(), (loss, logits, memories)

    expected, found = (jax.jit(jax.grad(f, has_aux=True))(params) for f in (plain, ours))
    assert optax.tree.norm(expected[0]["head"]) > 0.1
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("all_at_once", [True, False])
def test_no_gradient_flows_through_the_logits_beside_a_loss(debug_config, all_at_once):
    policy, params = make_model(debug_config)
    history = random_transitions(jax.random.key(2), policy.spec, (_BATCH, 20))
    segments = cut(history, [10, 10], 12)

    def logits(params):
        weights = jnp.ones(segments.mask.shape)
        _, (logits, _) = unroll_loss(
            policy,
            params,
            segments,
            lambda logits, _: logits.sum(-1),
            weights,
            all_at_once=all_at_once,
        )
        return jnp.square(logits).sum()

    assert optax.tree.norm(jax.jit(jax.grad(logits))(params)) == 0


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


@pytest.mark.parametrize("n_latent", [0, 4])
def test_no_token_sees_a_later_one(debug_config, n_latent):
    config = override(debug_config, model={"n_latent": n_latent})
    reach = _reach(config, [10, 8, 12], (1, 5))
    assert reach[1, :6].all()
    assert not reach[1, 6:].any()
    assert not reach[2].any()


def test_first_segment_reaches_the_last_logits_through_memory_only(debug_config):
    lengths = [10, 8, 12]
    reach = _reach(debug_config, lengths, (2, 0))
    assert reach[0, 1:10].all()  # Token 0 shows no transition, hence no reward.
    assert not reach[0, 10:].any()  # Padding.
    assert reach[1, :8].all()
    assert not reach[1, 8:].any()
    without_memory = override(debug_config, model={"n_latent": 0})
    assert not _reach(without_memory, lengths, (2, 0))[:2].any()


def test_bptt_depth_cuts_the_gradient(debug_config):
    lengths = [6, 6, 6, 6]
    full = _reach(debug_config, lengths, (3, 0))
    cut_at_two = _reach(override(debug_config, model={"bptt_depth": 2}), lengths, (3, 0))
    assert full[:3, 1:6].all()
    assert not cut_at_two[:2].any()  # The memory is cut before compressions 0 and 2.
    assert cut_at_two[2, :6].all()


@pytest.mark.parametrize("n_latent", [0, 4])
def test_padding_changes_nothing(debug_config, n_latent):
    config = override(debug_config, model={"n_latent": n_latent})
    policy, params = make_model(config)
    lengths = [7, 9, 6]
    history = random_transitions(jax.random.key(4), policy.spec, (_BATCH, sum(lengths)))
    tight, padded = cut(history, lengths, 9), cut(history, lengths, 12)
    noise = random_transitions(jax.random.key(5), policy.spec, padded.mask.shape)
    garbage = jax.tree.map(
        lambda x, y: jnp.where(padded.mask.reshape(padded.mask.shape + (1,) * (x.ndim - 3)), x, y),
        padded.tokens.previous,
        noise,
    )
    padded = padded._replace(tokens=padded.tokens._replace(previous=garbage))
    a = _unroll(policy, params, tight)
    b = _unroll(policy, params, padded)[:, :, :9]
    mask = np.asarray(tight.mask)
    np.testing.assert_allclose(np.asarray(a)[mask], np.asarray(b)[mask], atol=1e-5)


def test_dropout_depends_on_the_key_and_differs_between_segments(debug_config):
    config = override(debug_config, model={"tf_dropout": 0.5})
    policy, params = make_model(config)
    history = random_transitions(jax.random.key(6), policy.spec, (_BATCH, 6))
    repeated = jax.tree.map(lambda x: jnp.concatenate([x, x], axis=1), history)
    segments = cut(repeated, [6, 6], 12)
    a, b, c = (_unroll(policy, params, segments, key=jax.random.key(k)) for k in (0, 0, 1))
    chex.assert_trees_all_equal(a, b)
    assert jnp.abs(a - c).max() > 1e-3
