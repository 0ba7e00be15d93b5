"""What a compressed segment looked like, read back from the latents alone.

An auxiliary signal for the compressor: the original system's option C, and the pre-training of
recurrent algorithm distillation.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import ModelConfig
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.models.tokens import scale
from compad_jax.models.transformer import (
    Dropout,
    FeedForward,
    Linear,
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
        """Memory [B, M, D] -> float32 [B, W, outputs], see `reconstruction_loss`."""
        chex.assert_rank(memory, 3)
        width, heads = self.config.tf_n_embd, self.config.encoder_n_head
        shape = self.window, width
        queries = self.param("queries", nn.initializers.normal(1.0), shape).astype(self.dtype)
        x = jnp.broadcast_to(queries, (memory.shape[0], *queries.shape))
        normed = nn.LayerNorm(dtype=self.dtype, name="norm")(memory)
        query = Linear(width, dtype=self.dtype, name="query")(x)
        kv = Linear(2 * width, dtype=self.dtype, name="kv")(normed)
        (query,), (key, value) = split_heads(query, 1, heads), split_heads(kv, 2, heads)
        everything = jnp.ones((1, 1, 1, memory.shape[1]), bool)
        mixed = attend(query, KeyValue(key, value), everything, Dropout(0.0), deterministic=True)
        out = Linear(width, dtype=self.dtype, kernel_init=residual_init(1), name="out")
        x = x + out(mixed)
        x = x + FeedForward(self.config, self.dtype, name="feed_forward")(x, deterministic=True)
        x = nn.LayerNorm(dtype=self.dtype, name="final_norm")(x)
        return Linear(sum(_sizes(self.spec)), name="head")(x.astype(jnp.float32))


def reconstruction_loss(outputs: jax.Array, transition: Transition, spec: EnvSpec) -> jax.Array:
    """Negative log-likelihood of s, s', a and r, the parts side by side.

    Integer coordinates and actions are categories. The reward and real coordinates, scaled to
    [0, 1], are normal with variance 1, whose constant is left out.

    Returns:
        float32 [...], the sum over the parts, in nats, for outputs [..., outputs] of the
        reconstructor and transitions [...].
    """
    total = jnp.zeros(outputs.shape[:-1])
    ends = np.cumsum(_sizes(spec))[:-1]
    both, next_both, action, reward = jnp.split(outputs, ends, axis=-1)
    for part, obs in ((both, transition.obs), (next_both, transition.next_obs)):
        if isinstance(spec.obs_space, Discrete):
            ends = np.cumsum(spec.obs_space.sizes)[:-1]
            for index, logits in enumerate(jnp.split(part, ends, axis=-1)):
                total += _categorical_nll(logits, obs[..., index])
        else:
            low, high = (np.asarray(x) for x in spec.obs_space)
            total += (0.5 * (part - scale(obs, low, high)) ** 2).sum(-1)
    total += _categorical_nll(action, transition.action)
    return total + 0.5 * (reward[..., 0] - scale(transition.reward, *spec.reward_range)) ** 2


def _categorical_nll(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Float [..., n], int [...] -> float [...]."""
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probs, target[..., None].astype(jnp.int32), axis=-1)[..., 0]


def _sizes(spec: EnvSpec) -> list[int]:
    """Outputs for s, s', a and r."""
    space = spec.obs_space
    obs_size = sum(space.sizes) if isinstance(space, Discrete) else spec.obs_size
    return [obs_size, obs_size, spec.num_actions, 1]
