"""The loss of PPO, over samples or, exactly the same, over a table of what they add up to.

A policy does not change during a rollout: all samples of one observation and action have one
ratio of probabilities, and all samples of one observation have one value. So the loss of a
minibatch depends on its samples only through sums, a `Tally`, over observations and actions.
Where there are fewer observations than samples in a minibatch, the tally costs one pass
over the samples, outside the gradient, and the networks are evaluated on fewer rows.

Source: Schulman et al. (2017), Proximal policy optimization algorithms, equation 7;
advantages normalised in each minibatch as in Stable-Baselines3 2.x.
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from compad_jax.config import PpoConfig
from compad_jax.envs.protocol import Discrete, observation_index

_STD_EPS = 1e-8  # A minibatch may hold equal advantages only.


class Samples(NamedTuple):
    """What an update reads of each step acted; any leading axes."""

    obs: jax.Array  # [..., O]
    action: jax.Array  # int [...]
    log_prob: jax.Array  # float [...], of the action when it was taken.
    advantage: jax.Array  # float [...]
    target: jax.Array  # float [...], of the value.


class Tally(NamedTuple):
    """A minibatch in sums over its samples, each divided by their number.

    Advantages are normalised. Rows are observations, see `all_observations`.
    """

    gain: jax.Array  # float [observations, A], sum of positive advantages.
    loss: jax.Array  # float [observations, A], sum of negative advantages.
    log_probs: jax.Array  # float [observations, A], when they were taken; 0 where none was.
    visits: jax.Array  # float [observations], number of samples.
    target: jax.Array  # float [observations], sum of targets.
    target_square: jax.Array  # float [], sum of squared targets.


def ppo_loss(
    log_probs: jax.Array, value: jax.Array, samples: Samples, config: PpoConfig
) -> jax.Array:
    """Computes the loss of a minibatch of at least two samples, [B]: float [].

    -mean(min(ratio A, clip(ratio, 1 - clip, 1 + clip) A)) + value_weight * mean squared error
    of the value - entropy_weight * entropy, with A normalised over the minibatch.

    `log_probs`, float [B, A], and `value`, float [B], are those of the networks now.
    """
    chex.assert_rank([log_probs, value], [2, 1])
    chex.assert_equal_shape([value, samples.action, samples.advantage, samples.target])
    log_prob = jnp.take_along_axis(log_probs, samples.action[:, None], axis=-1)[:, 0]
    ratio = jnp.exp(log_prob - samples.log_prob)
    clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
    advantage = _normalise(samples.advantage)
    surrogate = jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value_error = jnp.square(value - samples.target).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return -surrogate + config.value_weight * value_error - config.entropy_weight * entropy


def make_tally(samples: Samples, space: Discrete, num_actions: int) -> Tally:
    """Adds up a minibatch [B] of at least two samples of one policy."""
    chex.assert_rank(samples.obs, 2)
    chex.assert_equal_shape([samples.action, samples.advantage, samples.target])
    shape = (math.prod(space.sizes), num_actions)
    cell = observation_index(space, samples.obs) * num_actions + samples.action
    advantage = _normalise(samples.advantage)
    gain, loss = jnp.maximum(advantage, 0), jnp.minimum(advantage, 0)
    # One pass over rows of four numbers, then small sums.
    columns = jnp.stack([gain, loss, jnp.ones_like(gain), samples.target], axis=-1)
    sums = jax.ops.segment_sum(columns, cell, shape[0] * shape[1])
    gain, loss, visits, target = jnp.moveaxis(sums.reshape(*shape, -1), -1, 0) / len(cell)
    log_probs = jnp.zeros(shape[0] * shape[1]).at[cell].set(samples.log_prob).reshape(shape)
    target_square = jnp.square(samples.target).mean()
    return Tally(gain, loss, log_probs, visits.sum(-1), target.sum(-1), target_square)


def tally_loss(
    log_probs: jax.Array, value: jax.Array, tally: Tally, config: PpoConfig
) -> jax.Array:
    """Computes the same as `ppo_loss` from sums.

    A sample with a positive advantage counts min(ratio, 1 + clip) times it, one with a
    negative advantage max(ratio, 1 - clip) times it.

    `log_probs`, float [observations, A], and `value`, float [observations], are those of now.
    """
    chex.assert_equal_shape([log_probs, tally.gain, tally.loss, tally.log_probs])
    chex.assert_equal_shape([value, tally.visits, tally.target])
    ratio = jnp.exp(log_probs - tally.log_probs)  # At most 1 where there is no sample.
    gain, loss = jnp.minimum(ratio, 1 + config.clip), jnp.maximum(ratio, 1 - config.clip)
    surrogate = (gain * tally.gain + loss * tally.loss).sum()
    value_error = (value * (tally.visits * value - 2 * tally.target)).sum() + tally.target_square
    entropy = -(tally.visits * (jnp.exp(log_probs) * log_probs).sum(-1)).sum()
    return -surrogate + config.value_weight * value_error - config.entropy_weight * entropy


def _normalise(advantage: jax.Array) -> jax.Array:
    """Mean 0 and sample deviation 1, float [B]."""
    return (advantage - advantage.mean()) / (advantage.std(ddof=1) + _STD_EPS)
