"""The recursive compressor: (old latents, a segment) -> new latents.

Source: the update by replacement follows Bulatov et al. (2022), Recurrent memory
transformer; the cross-attention of latents to inputs, Jaegle et al. (2021), Perceiver.
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
    split_heads,
)
from compad_jax.types import KeyValue


class CompressorBlock(nn.Module):
    """Latents attend to `[latents | segment]`, then a feed-forward layer."""

    config: ModelConfig
    dtype: Any

    def setup(self) -> None:
        """Declares the layers."""
        width = self.config.tf_n_embd
        self.norm_latent = nn.LayerNorm(dtype=self.dtype)
        self.norm_segment = nn.LayerNorm(dtype=self.dtype)
        self.qkv_latent = Linear(3 * width, dtype=self.dtype)
        self.kv_segment = Linear(2 * width, dtype=self.dtype)
        self.out = Linear(width, dtype=self.dtype)
        self.feed_forward = FeedForward(self.config, self.dtype)
        self.dropout = Dropout(self.config.tf_dropout)
        self.attention_dropout = Dropout(self.config.tf_attn_dropout)

    def project(self, segment: jax.Array) -> KeyValue:
        """Keys and values of a segment, [..., L, D] -> [..., H, L, K]; needs no memory."""
        kv = self.kv_segment(self.norm_segment(segment))
        return KeyValue(*split_heads(kv, 2, self.config.encoder_n_head))

    def __call__(
        self, latents: jax.Array, segment: KeyValue, mask: jax.Array, *, deterministic: bool
    ) -> jax.Array:
        """[B, M, D] latents, [B, H, L, K] segment, bool [B, L] mask -> [B, M, D]."""
        batch, num_latents, _ = latents.shape
        qkv = self.qkv_latent(self.norm_latent(latents))
        query, key, value = split_heads(qkv, 3, self.config.encoder_n_head)
        everything = KeyValue(
            jnp.concatenate([key, segment.key], axis=2),
            jnp.concatenate([value, segment.value], axis=2),
        )
        seen = jnp.concatenate([jnp.ones((batch, num_latents), bool), mask], axis=1)
        mixed = attend(
            query,
            everything,
            seen[:, None, None],
            self.attention_dropout,
            deterministic=deterministic,
        )
        latents = latents + self.dropout(self.out(mixed), deterministic=deterministic)
        return latents + self.feed_forward(latents, deterministic=deterministic)


class Compressor(nn.Module):
    """`encoder_n_layer` blocks, a final LayerNorm, and the rule of the update."""

    config: ModelConfig
    dtype: Any

    def setup(self) -> None:
        """Declares the layers."""
        layers = range(self.config.encoder_n_layer)
        self.blocks = [CompressorBlock(self.config, self.dtype) for _ in layers]
        self.norm = nn.LayerNorm(dtype=self.dtype)
        if self.config.memory_update == "gated":
            self.gate = Linear(self.config.tf_n_embd, dtype=self.dtype)

    def project(self, segment: jax.Array) -> tuple[KeyValue, ...]:
        """What the blocks need of a segment, [..., L, D]; for many segments at once."""
        return tuple(block.project(segment) for block in self.blocks)

    def __call__(
        self,
        memory: jax.Array,
        segment: tuple[KeyValue, ...],
        mask: jax.Array,
        *,
        deterministic: bool = True,
    ) -> jax.Array:
        """Compresses one segment into the memory.

        Args:
            memory: the old latents, [B, M, D].
            segment: what `project` made of the segment, each [B, H, L, K].
            mask: bool [B, L], true for real tokens.
            deterministic: no dropout.

        Returns:
            The new latents, [B, M, D]: the blocks' output (replace), or a learned mix of
            it with the old latents (gated).
        """
        chex.assert_rank([memory, mask], [3, 2])
        latents = memory
        for block, keys_values in zip(self.blocks, segment, strict=True):
            latents = block(latents, keys_values, mask, deterministic=deterministic)
        latents = self.norm(latents)
        if self.config.memory_update == "gated":
            gate = nn.sigmoid(self.gate(jnp.concatenate([memory, latents], axis=-1)))
            latents = gate * latents + (1 - gate) * memory
        return latents
