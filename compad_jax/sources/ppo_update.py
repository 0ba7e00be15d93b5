"""Updates of PPO: epochs of shuffled minibatches over a rollout.

Where there are few observations, the networks are evaluated once on all of them, a minibatch,
instead of on every sample. The result is the same.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from compad_jax.config import PpoConfig
from compad_jax.envs import protocol
from compad_jax.sources.actor_critic import NetworkFn
from compad_jax.sources.ppo_loss import Samples, Tally, make_tally, ppo_loss, tally_loss

Batch = Any  # Samples, or their Tally.
LossFn = Callable[[chex.ArrayTree, Batch], jax.Array]


class Learner(NamedTuple):
    """What is learned, shared by the streams."""

    params: chex.ArrayTree
    opt_state: optax.OptState


def make_objective(
    spec: protocol.EnvSpec, network_fn: Callable[[chex.ArrayTree], NetworkFn], config: PpoConfig
) -> tuple[LossFn, Callable[[Samples], Batch]]:
    """The loss of a batch, and what makes a batch of the samples of a minibatch."""

    def sample_loss(params: chex.ArrayTree, samples: Samples) -> jax.Array:
        log_probs, value = network_fn(params)(samples.obs)
        return ppo_loss(log_probs, value, samples, config)

    space = spec.obs_space
    if isinstance(space, protocol.Box) or protocol.num_observations(spec) >= config.batch_size:
        return sample_loss, lambda samples: samples
    table = jnp.asarray(protocol.all_observations(space))

    def table_loss(params: chex.ArrayTree, tally: Tally) -> jax.Array:
        log_probs, value = network_fn(params)(table)
        return tally_loss(log_probs, value, tally, config)

    return table_loss, functools.partial(make_tally, space=space, num_actions=spec.num_actions)


def update(
    loss_fn: LossFn,
    prepare: Callable[[Samples], Batch],
    optimizer: optax.GradientTransformation,
    learner: Learner,
    samples: Samples,
    key: jax.Array,
    config: PpoConfig,
) -> Learner:
    """Epochs of shuffled minibatches over a rollout [t, R]."""
    samples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)
    num_samples = len(samples.action)

    def descend(learner: Learner, batch: Batch) -> tuple[Learner, None]:
        gradient = jax.grad(loss_fn)(learner.params, batch)
        updates, opt_state = optimizer.update(gradient, learner.opt_state)
        return Learner(optax.apply_updates(learner.params, updates), opt_state), None

    if config.batch_size == num_samples:  # Nothing to shuffle: prepared once for all epochs.
        batch = prepare(samples)
        return jax.lax.scan(
            lambda learner, _: descend(learner, batch), learner, length=config.num_epochs
        )[0]

    def epoch(learner: Learner, key: jax.Array) -> tuple[Learner, None]:
        order = shuffle(key, num_samples).reshape(-1, config.batch_size)
        # One gather an epoch; the scan then reads consecutive slices.
        batches = jax.vmap(prepare)(jax.tree.map(lambda x: x[order], samples))
        return jax.lax.scan(descend, learner, batches)

    learner, _ = jax.lax.scan(epoch, learner, jax.random.split(key, config.num_epochs))
    return learner


def shuffle(key: jax.Array, size: int) -> jax.Array:
    """Draws a permutation, int [size], by one sort of words that carry their own place.

    Much faster than `jax.random.permutation`, which sorts pairs, repeatedly. Equal noise in
    two words leaves their order, but they are neighbours then.
    """
    index_bits = max(size - 1, 1).bit_length()
    words = jax.random.bits(key, (size,)) << index_bits | jnp.arange(size, dtype=jnp.uint32)
    return (jnp.sort(words) & (2**index_bits - 1)).astype(jnp.int32)
