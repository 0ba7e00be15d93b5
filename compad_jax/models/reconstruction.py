"""What a compressed segment looked like, read back from the latents alone.

An auxiliary signal for the compressor: the seed's option C, and the pre-training of
recurrent algorithm distillation.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from compad_jax.config import ModelConfig
from compad_jax.envs.protocol import EnvSpec
from compad_jax.models.transformer import (
    Dropout,
    FeedForward,
    attend,
    residual_init,
    split_heads,
)
from compad_jax.types import KeyValue, Transition


class Reconstructor(nn.Module):
    """One query a position attends to the latents and predicts the transition seen there."""

    config: ModelConfig
    spec: EnvSpec
    window: int  # Most tokens of a segment, W.
    dtype: Any

    @nn.compact
    def __call__(self, memory: jax.Array) -> jax.Array:
        """Memory [B, M, D] -> float32 logits [B, W, classes], see `reconstruction_loss`."""
        chex.assert_rank(memory, 3)
        width, heads = self.config.tf_n_embd, self.config.encoder_n_head
        shape = self.window, width
        queries = self.param("queries", nn.initializers.normal(1.0), shape).astype(self.dtype)
        x = jnp.broadcast_to(queries, (memory.shape[0], *queries.shape))
        normed = nn.LayerNorm(dtype=self.dtype, name="norm")(memory)
        query = nn.Dense(width, dtype=self.dtype, name="query")(x)
        kv = nn.Dense(2 * width, dtype=self.dtype, name="kv")(normed)
        (query,), (key, value) = split_heads(query, 1, heads), split_heads(kv, 2, heads)
        everything = jnp.ones((1, 1, 1, memory.shape[1]), bool)
        mixed = attend(query, KeyValue(key, value), everything, Dropout(0.0), deterministic=True)
        out = nn.Dense(width, dtype=self.dtype, kernel_init=residual_init(1), name="out")
        x = x + out(mixed)
        x = x + FeedForward(self.config, self.dtype, name="feed_forward")(x, deterministic=True)
        x = nn.LayerNorm(dtype=self.dtype, name="final_norm")(x)
        return nn.Dense(sum(_sizes(self.spec)), name="head")(x.astype(jnp.float32))


def reconstruction_loss(logits: jax.Array, transition: Transition, spec: EnvSpec) -> jax.Array:
    """Cross entropy of s, a, r and s', each coordinate and the reward as a category.

    Args:
        logits: float [..., classes], the parts side by side.
        transition: [...], what was seen.
        spec: sizes of the parts; a reward counts as the nearest of `reward_levels`.

    Returns:
        float32 [...], the sum over the parts, in nats.
    """
    levels = jnp.array(spec.reward_levels)
    distance = jnp.abs(transition.reward[..., None] - levels)
    targets = [
        *jnp.moveaxis(transition.obs, -1, 0),
        *jnp.moveaxis(transition.next_obs, -1, 0),
        transition.action,
        distance.argmin(-1),
    ]
    sizes = _sizes(spec)
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    total = jnp.zeros(logits.shape[:-1])
    for part, target in zip(jnp.split(logits, ends[:-1], axis=-1), targets, strict=True):
        log_probs = jax.nn.log_softmax(part)
        index = target[..., None].astype(jnp.int32)
        total -= jnp.take_along_axis(log_probs, index, axis=-1)[..., 0]
    return total


def _sizes(spec: EnvSpec) -> list[int]:
    return [*spec.obs_sizes, *spec.obs_sizes, spec.num_actions, len(spec.reward_levels)]
