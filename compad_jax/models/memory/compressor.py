"""The compressor: (old latents, a segment) -> a candidate for the new latents.

Source: Jaegle et al. (2021), Perceiver, for latents that attend to inputs; here the latents attend
to each other in the same layer.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from compad_jax.config import ModelConfig
from compad_jax.models.transformer import (
    Dropout,
    FeedForward,
    Linear,
    attend,
    residual_init,
    split_heads,
)
from compad_jax.types import KeyValue


class CompressorBlock(nn.Module):
    """Latents attend to `[latents | segment]`, then a feed-forward layer."""

    config: ModelConfig
    dtype: Any

    @nn.compact
    def __call__(
        self, latents: jax.Array, segment: jax.Array, mask: jax.Array, *, deterministic: bool
    ) -> jax.Array:
        """[B, M, D] latents, [B, L, D] segment, bool [B, 1, 1, M + L] mask -> [B, M, D]."""
        config, width = self.config, self.config.tf_n_embd
        normed_latents = nn.LayerNorm(dtype=self.dtype, name="norm_latent")(latents)
        normed_segment = nn.LayerNorm(dtype=self.dtype, name="norm_segment")(segment)
        qkv = Linear(3 * width, dtype=self.dtype, name="qkv_latent")(normed_latents)
        kv = Linear(2 * width, dtype=self.dtype, name="kv_segment")(normed_segment)
        query, *of_latents = split_heads(qkv, 3, config.encoder_n_head)
        of_segment = split_heads(kv, 2, config.encoder_n_head)
        keys_values = [
            jnp.concatenate(pair, axis=2) for pair in zip(of_latents, of_segment, strict=True)
        ]
        dropout = Dropout(config.tf_attn_dropout)
        mixed = attend(query, KeyValue(*keys_values), mask, dropout, deterministic=deterministic)
        init = residual_init(config.encoder_n_layer)
        out = Linear(width, dtype=self.dtype, kernel_init=init, name="out")(mixed)
        latents = latents + Dropout(config.tf_dropout)(out, deterministic=deterministic)
        feed_forward = FeedForward(config, self.dtype, config.encoder_n_layer, name="feed_forward")
        return latents + feed_forward(latents, deterministic=deterministic)


class Compressor(nn.Module):
    """`encoder_n_layer` blocks and a final LayerNorm."""

    config: ModelConfig
    dtype: Any

    @nn.compact
    def __call__(
        self, memory: jax.Array, segment: jax.Array, mask: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """Makes a candidate for the new latents, [B, M, D], of the old ones and a segment.

        That is embedded tokens with positions, [B, L, D], of which the mask, bool [B, L], says
        which are real.
        """
        chex.assert_rank([memory, segment, mask], [3, 3, 2])
        chex.assert_equal_shape_prefix([segment, mask], 2)
        all_latents = jnp.ones(memory.shape[:2], bool)
        seen = jnp.concatenate([all_latents, mask], axis=1)[:, None, None]
        latents = memory
        for number in range(self.config.encoder_n_layer):
            block = CompressorBlock(self.config, self.dtype, name=f"blocks_{number}")
            latents = block(latents, segment, seen, deterministic=deterministic)
        return nn.LayerNorm(dtype=self.dtype, name="norm")(latents)
