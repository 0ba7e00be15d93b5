"""What is measured of a batch, and how many batches become one number each."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Metrics(NamedTuple):
    """Means over the targets of one batch, or of many batches."""

    loss: jax.Array  # float [], smoothed cross entropy, in nats.
    floor: jax.Array  # float [], what `loss` cannot fall below on them; NaN: not known.
    nll: jax.Array  # float [], plain cross entropy, in nats.
    accuracy: jax.Array  # float [], share of actions predicted exactly.
    num_tokens: jax.Array  # float [], of a batch, targets or not.
    depth_nll: jax.Array  # float [S], by number of compressions before the token.
    depth_tokens: jax.Array  # float [S], targets of a batch.
    reconstruction: jax.Array  # float [], of the compressed transitions, in nats; 0 if unused.


_OF_TARGETS = ("loss", "floor", "nll", "accuracy")


def average(metrics: dict[str, Any]) -> dict[str, jax.Array]:
    """Averages the metrics of batches as if they had been one large batch.

    Each field of `Metrics`, and whatever else is averaged over the batches (gradient norm, learning
    rate), has a leading axis of batches [N, ...], which is taken away. Means of targets weigh every
    target alike; a depth that has no target in any batch is NaN. Numbers of tokens are those of a
    mean batch.
    """
    weights = dict.fromkeys(_OF_TARGETS, metrics["depth_tokens"].sum(-1))
    weights |= {"depth_nll": metrics["depth_tokens"], "reconstruction": metrics["num_tokens"]}
    return {name: _mean(x, weights.get(name, jnp.ones(len(x)))) for name, x in metrics.items()}


def _mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Weighted mean over the first axis; weights [N] or as `x`."""
    if weight.ndim < x.ndim:
        weight = jnp.broadcast_to(weight.reshape(-1, *[1] * (x.ndim - 1)), x.shape)
    total = weight.sum(0)
    return jnp.where(total > 0, (x * weight).sum(0) / jnp.maximum(total, 1e-9), jnp.nan)
