"""What every memory rule must do, whoever wrote it; and the registry."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.envs import make_env
from compad_jax.models import make_policy, param_shapes, register_memory, unroll
from compad_jax.models.memory.protocol import _FACTORIES
from compad_jax.models.memory.rules import GruMemory
from compad_jax.models.policy import apply_method
from compad_jax.training.run_directory import claim_workdir
from tests.builders import cut, override, random_transitions, tokens_of
from tests.models.rules import REMEMBERING, RULES, RunningMean, act, make_rule_model

_BATCH, _STEPS, _WINDOW = 2, 50, 12
_unroll = jax.jit(unroll, static_argnums=0)


@pytest.mark.parametrize("compress", [_WINDOW, 5])  # Nothing is padded; shorter segments are.
@pytest.mark.parametrize(
    ("rule", "dtype", "tolerance"),
    [(rule, "float32", 1e-4) for rule in RULES]
    + [(rule, "bfloat16", 0.15) for rule in ("replace", "slot_gate")],
)
def test_acting_equals_training(debug_config, rule, dtype, tolerance, compress):
    policy, params = make_rule_model(debug_config, rule, compress, dtype=dtype)
    num_steps = _WINDOW + 2 * compress + 2
    history = random_transitions(jax.random.key(1), policy.spec, (_BATCH, num_steps))
    acted, compressions = map(np.asarray, act(policy, params, tokens_of(history)))
    last = compressions[-1]
    assert last == 3
    for depth in range(last + 1):
        steps = np.flatnonzero(compressions == depth)
        lengths = [compress] * depth + [min(_WINDOW, num_steps - depth * compress)]
        lengths += [0] * (last - depth)
        trained = np.asarray(_unroll(policy, params, cut(history, lengths, _WINDOW)).logits)
        trained = trained[:, depth, steps - depth * compress]
        np.testing.assert_allclose(acted[:, steps], trained, atol=tolerance)
    assert acted.std() > 2 * tolerance


@pytest.mark.parametrize("rule", RULES)
def test_what_a_logit_depends_on(debug_config, rule):
    """Of segments 0 to 2, each token's reward is differentiated for logits (1, 5) and (2, 0)."""
    policy, params = make_rule_model(debug_config, rule, compress=10)
    lengths = [10, 8, 10]
    history = random_transitions(jax.random.key(3), policy.spec, (1, sum(lengths)))
    segments = cut(history, lengths, _WINDOW)

    def logits_of(reward):
        previous = segments.tokens.previous._replace(reward=reward)
        tokens = segments.tokens._replace(previous=previous)
        logits = unroll(policy, params, segments._replace(tokens=tokens)).logits[0].sum(-1)
        return jnp.stack([logits[1, 5], logits[2, 0]])

    gradient = jax.jit(jax.jacrev(logits_of))(segments.tokens.previous.reward)
    middle, last = np.abs(np.asarray(gradient[:, 0])) > 1e-9
    remembers = rule != "none"
    assert middle[1, :6].all()
    assert not middle[1, 6:].any()
    assert not middle[2].any()
    assert last[2, 0]
    assert not last[2, 1:].any()
    # Token 0 of a history shows no transition, hence no reward.
    assert (middle[0, 1:10] == remembers).all()
    assert (last[0, 1:10] == remembers).all()
    assert (last[1, :8] == remembers).all()
    padding = ~np.asarray(segments.mask[0])
    assert not middle[padding].any()
    assert not last[padding].any()


@pytest.mark.parametrize("rule", RULES)
def test_what_padding_holds_changes_nothing(debug_config, rule):
    policy, params = make_rule_model(debug_config, rule)
    lengths = [3, 0, 5, 2, 7]
    history = random_transitions(jax.random.key(4), policy.spec, (_BATCH, sum(lengths)))
    segments = cut(history, lengths, _WINDOW)
    noise = random_transitions(jax.random.key(5), policy.spec, segments.mask.shape)

    def spoil(x, y):
        return jnp.where(segments.mask.reshape(segments.mask.shape + (1,) * (x.ndim - 3)), x, y)

    tokens = segments.tokens
    spoiled = tokens._replace(
        previous=jax.tree.map(spoil, tokens.previous, noise),
        obs=spoil(tokens.obs, noise.next_obs),
        is_first=spoil(tokens.is_first, noise.done),
    )
    clean = _unroll(policy, params, segments)
    dirty = _unroll(policy, params, segments._replace(tokens=spoiled))
    mask = np.asarray(segments.mask)
    np.testing.assert_allclose(
        np.asarray(clean.logits)[mask], np.asarray(dirty.logits)[mask], atol=1e-5
    )
    chex.assert_trees_all_close(clean.memories, dirty.memories, atol=1e-5)


@pytest.mark.parametrize("rule", REMEMBERING)
def test_early_experience_changes_late_actions(debug_config, rule):
    policy, params = make_rule_model(debug_config, rule)
    history = random_transitions(jax.random.key(1), policy.spec, (_BATCH, _STEPS))
    changed = history._replace(reward=history.reward.at[:, 0].add(3.0))
    before, _ = act(policy, params, tokens_of(history))
    after, _ = act(policy, params, tokens_of(changed))
    assert np.abs(before[:, 0] - after[:, 0]).max() == 0
    # A recurrence that was not trained forgets by halves: a trace is left, and no trace would be
    # the same bits, as the same program computed them.
    least = 0 if rule == "recurrent" else 1e-4
    assert np.abs(before[:, -1] - after[:, -1]).max() > least


def test_a_cache_knows_nothing_beyond_its_reach(debug_config):
    """Two caches of 4 states: a token's own, and one of a layer that saw 4 more."""
    policy, params = make_rule_model(debug_config, "cache", n_latent=4, encoder_n_layer=1)
    mask = jnp.ones((1, 5), bool)

    def shown(embeddings):
        memory = apply_method(policy, params, "initial_memory", 1)
        for start in range(0, 20, 5):
            segment = embeddings[:, start : start + 5]
            memory = apply_method(policy, params, "write", memory, segment, mask)
        return apply_method(policy, params, "read", memory).sum((0, 1))

    embeddings = jax.random.normal(jax.random.key(0), (1, 20, policy.config.tf_n_embd))
    gradient = np.asarray(jax.jit(jax.jacrev(shown))(embeddings))
    reached = (np.abs(gradient) > 1e-7).any((0, 1, 3))
    # Tokens 16 to 19 are shown. The oldest of them saw tokens of its own segment, from 15 on, and
    # the 4 before that in the cache.
    np.testing.assert_array_equal(reached, np.arange(20) >= 11)


def test_an_unknown_rule_is_one_clear_line(debug_config):
    config = override(debug_config, model={"memory_update": "elephant"})
    with pytest.raises(ConfigError) as error:
        make_policy(config, make_env(config.env).spec)
    message = str(error.value)
    assert message.startswith("model.memory_update='elephant': no such memory rule; known are ")
    assert "none, replace, residual, multiplicative, gru, slot_gate, quantised" in message
    assert "must be imported first" in message
    assert "\n" not in message


def test_an_unknown_rule_leaves_no_run_directory(debug_config, tmp_path):
    config = override(debug_config, model={"memory_update": "elephant"})
    with pytest.raises(ConfigError, match="elephant"):
        claim_workdir(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_name_that_is_registered_again_means_the_new_rule(debug_config, monkeypatch):
    """Nothing that is kept of the old rule is found in its place."""
    monkeypatch.setitem(_FACTORIES, "changing", None)
    config = override(debug_config, model={"memory_update": "changing"})
    spec = make_env(config.env).spec
    register_memory("changing", GruMemory)
    old = make_policy(config, spec)
    assert "hidden" in param_shapes(old)["memory"]
    register_memory("changing", RunningMean)
    new = make_policy(config, spec)
    assert "memory" not in param_shapes(new)
    assert old != new


@pytest.mark.parametrize("model", [{"n_latent": 0}, {"memory_update": "none"}])
def test_no_latents_and_no_rule_are_the_same(debug_config, model):
    config = override(debug_config, model=model)
    policy = make_policy(config, make_env(config.env).spec)
    assert not config.model.remembers
    assert "memory" not in param_shapes(policy)
    latents = policy.memory_factory(config.model, jnp.float32).initial(3)
    chex.assert_shape(latents, (3, 0, config.model.tf_n_embd))
