"""Memories of other families, to compare compressed latents with: a recurrence and a cache."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from compad_jax.config import ModelConfig
from compad_jax.models.transformer import Block


class RecurrentMemory(nn.Module):
    """A gated recurrent unit reads every token; its state is shown as M tokens.

    The state has `tf_dim_feedforward` numbers.

    Source: Cho et al. (2014), Learning phrase representations using RNN encoder-decoder.
    """

    config: ModelConfig
    dtype: Any

    def setup(self) -> None:
        """Declares the unit and what shows its state."""
        self.unit = nn.GRUCell(self.config.tf_dim_feedforward, dtype=self.dtype)
        shown = self.config.n_latent * self.config.tf_n_embd
        self.shown, self.norm = nn.Dense(shown, dtype=self.dtype), nn.LayerNorm(dtype=self.dtype)

    def initial(self, batch: int) -> jax.Array:
        """Returns the state before any token, [B, H]."""
        return jnp.zeros((batch, self.config.tf_dim_feedforward), self.dtype)

    def write(
        self, memory: jax.Array, segment: jax.Array, mask: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """Returns the state after the tokens of the segment, [B, H]."""
        del deterministic

        def read_token(unit: nn.GRUCell, state: jax.Array, token: Any) -> tuple[jax.Array, None]:
            embedding, is_real = token
            after, _ = unit(state, embedding)
            return jnp.where(is_real[:, None], after, state), None

        read_all = nn.scan(
            read_token, variable_broadcast="params", split_rngs={"params": False}, in_axes=1
        )
        return read_all(self.unit, memory, (segment, mask))[0]

    def read(self, memory: jax.Array) -> jax.Array:
        """Returns the state as tokens, [B, M, D]."""
        tokens = self.shown(memory).reshape(-1, self.config.n_latent, self.config.tf_n_embd)
        return self.norm(tokens)


class CacheMemory(nn.Module):
    """The hidden states of the last M tokens, at the entrance and after each of N layers.

    A layer's tokens attend to its own cache and to each other, so that what the last layer's
    states know goes back N + 1 times M tokens, and no further.

    Source: Dai et al. (2019), Transformer-XL. Deviations: the layers with a cache stand beside the
    decoder, which is shown the last one's states; positions are those of the window, and the age
    of a cached state is a learned embedding.
    """

    config: ModelConfig
    dtype: Any

    def setup(self) -> None:
        """Declares the layers and the embedding of ages."""
        shape = self.config.n_latent, self.config.tf_n_embd
        self.age = self.param("age", nn.initializers.normal(0.1), shape)
        self.blocks = [Block(self.config, self.dtype) for _ in range(self.config.encoder_n_layer)]
        self.norm = nn.LayerNorm(dtype=self.dtype)

    def initial(self, batch: int) -> jax.Array:
        """Returns empty caches: zeros, [B, N + 1, M, D]."""
        shape = batch, self.config.encoder_n_layer + 1, *self.age.shape
        return jnp.zeros(shape, self.dtype)

    def write(
        self, memory: jax.Array, segment: jax.Array, mask: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """Returns the caches with the tokens of the segment, [B, N + 1, M, D]."""
        num_cached, length = memory.shape[2], segment.shape[1]
        # Cached states and tokens in their order; none sees a later one, or padding.
        order = jnp.arange(num_cached + length)
        is_real = jnp.concatenate([jnp.ones((len(mask), num_cached), bool), mask], axis=1)
        seen = (order <= order[:, None]) & is_real[:, None, None]
        newest = mask.sum(1)[:, None] + jnp.arange(num_cached)  # [B, M], the last real ones.
        after, hidden = [], segment
        for number in range(memory.shape[1]):
            both = jnp.concatenate([memory[:, number], hidden], axis=1)
            after.append(jnp.take_along_axis(both, newest[..., None], axis=1))
            if number < len(self.blocks):
                aged = both.at[:, :num_cached].add(self.age.astype(self.dtype))
                block = self.blocks[number]
                hidden, _ = block(aged, seen, skip=num_cached, deterministic=deterministic)
        return jnp.stack(after, axis=1)

    def read(self, memory: jax.Array) -> jax.Array:
        """Returns the last layer's states, [B, M, D]."""
        return self.norm(memory[:, -1] + self.age.astype(self.dtype))
