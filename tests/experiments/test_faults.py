"""Each fault does what it says, and nothing else."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.envs import make_env
from compad_jax.histories.dataset import Dataset
from compad_jax.histories.sampler import make_sampler
from compad_jax.models import init_window, observe, unroll
from experiments.faults import (
    make_hasty_policy,
    make_unmasked_policy,
    pad_left,
    sample_left_padded,
    sample_starts_only,
)
from tests.builders import cut, make_model, override, random_transitions, tokens_of


@pytest.fixture
def dataset(debug_config):
    """Noise, whose `floor` is the step number: it tells where a target stands."""
    spec = make_env(debug_config.env).spec
    num_rows, num_steps = 6, debug_config.source.num_steps
    transition = random_transitions(jax.random.key(0), spec, (num_rows, num_steps))
    step = jnp.broadcast_to(jnp.arange(float(num_steps)), (num_rows, num_steps))
    every = jnp.ones((num_rows, num_steps), bool)
    action = transition.action
    return Dataset(transition, action, every, step, jnp.arange(num_rows), jnp.int32(num_rows))


def test_windows_start_at_the_start(debug_config, dataset):
    config = override(debug_config, train={"train_batch_size": 64})
    key = jax.random.key(1)
    faulty = jax.jit(sample_starts_only(config))(key, dataset)
    correct = jax.jit(make_sampler(config))(key, dataset)
    np.testing.assert_array_equal(faulty.floor[:, 0, 0], 0)
    assert (correct.floor[:, 0, 0] > 0).mean() > 0.5
    np.testing.assert_array_equal(faulty.mask, correct.mask)  # Lengths are drawn alike.


def test_pad_left_by_hand(debug_config):
    spec = make_env(debug_config.env).spec
    history = random_transitions(jax.random.key(0), spec, (1, 7))
    segments = cut(history, [3, 4], 6)
    padded = pad_left(segments, jnp.array([4, 6]))
    np.testing.assert_array_equal(
        padded.mask[0].astype(int), [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]]
    )
    np.testing.assert_array_equal(padded.action[0, 0], [0, *history.action[0, :3], 0, 0])
    np.testing.assert_array_equal(padded.action[0, 1], [0, 0, *history.action[0, 3:7]])
    np.testing.assert_array_equal(padded.tokens.obs[0, 1, 2:], history.obs[0, 3:7])
    np.testing.assert_array_equal(padded.tokens.obs[0, 1, :2], 0)


def test_padding_is_attended_to(debug_config, dataset):
    """The same windows give other predictions; without the fault they give the same."""
    policy, params = make_model(debug_config)
    unmasked = make_unmasked_policy(debug_config, policy.spec)
    key = jax.random.key(2)
    segments = jax.jit(make_sampler(debug_config))(key, dataset)
    padded = jax.jit(sample_left_padded(debug_config))(key, dataset)
    assert int(segments.mask.sum()) == int(padded.mask.sum())
    run = jax.jit(lambda policy, x: unroll(policy, params, x).logits, static_argnums=0)
    correct, faulty = run(policy, segments), run(unmasked, padded)
    before, after = np.asarray(correct)[segments.mask], np.asarray(faulty)[padded.mask]
    chex.assert_equal_shape([before, after])
    assert np.abs(before - after).max() > 1e-2
    full = cut(random_transitions(jax.random.key(3), policy.spec, (2, 24)), [12, 12], 12)
    assert np.abs(np.asarray(run(policy, full) - run(unmasked, full))).max() < 1e-5


def test_hasty_policy_compresses_at_every_step(debug_config):
    _, params = make_model(debug_config)
    policy = make_hasty_policy(debug_config, make_env(debug_config.env).spec)
    window, extra = debug_config.data.max_uncompressed_length, 5
    history = random_transitions(jax.random.key(4), policy.spec, (2, window + extra))
    state, step = init_window(policy, params, 2), jax.jit(partial(observe, policy, params))
    for t in range(window + extra):
        state, _ = step(state, jax.tree.map(lambda x, t=t: x[:, t : t + 1], tokens_of(history)))
        assert int(state.num_compressions) == max(0, t + 1 - window)
