"""A causal pre-LN transformer whose first positions are memory latents, with a KV cache.

Source: Vaswani et al. (2017), Attention is all you need; pre-LN as in Xiong et al. (2020).
"""

import math
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from compad_jax.config import ModelConfig
from compad_jax.types import KeyValue


def causal_mask(num_latents: int, length: int) -> jax.Array:
    """Who attends to whom in `[latents | tokens]`: bool [M + L, M + L], rows to columns.

    Latents see all latents; a token sees all latents and the tokens up to itself.
    """
    position = jnp.arange(num_latents + length)
    return (position[None] <= position[:, None]) | (position[None] < num_latents)


# Odd, so that no power of two divides what a step along an axis adds to the counter.
_AXIS_STEPS = (0x9E3779B1, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)


def _random_bytes(key: jax.Array, shape: tuple[int, ...], window: jax.Array) -> jax.Array:
    """Uniform uint8 [shape]: a counter and a key, mixed by two multiplications.

    A byte depends on the key, on the number of its window, int [B], and on where in the window it
    stands: of longer windows, the first bytes are those of shorter ones. Each window has as many
    rows of the first axis as any other. Much less work than JAX's own generator, whose strength
    dropout does not need: its masks must be uncorrelated, not unpredictable. Tests hold their
    statistics.

    Source: the finaliser of MurmurHash3 (Appleby, 2011), keyed before and within.
    """
    first, second = jax.random.key_data(key)
    words = -(-shape[-1] // 4)
    counter = window.astype(jnp.uint32) * jnp.uint32(_AXIS_STEPS[0])
    axes = shape[0] // len(window), *shape[1:-1]
    for size, step in zip(axes, _AXIS_STEPS[1:], strict=False):
        counter = counter[..., None] + jax.lax.iota(jnp.uint32, size) * jnp.uint32(step)
    counter = counter[..., None] + jax.lax.iota(jnp.uint32, words)
    word = counter * jnp.uint32(0x9E3779B9) + first
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13) ^ second) * jnp.uint32(0xC2B2AE35)
    word = word ^ (word >> 16)
    rows = jax.lax.bitcast_convert_type(word, jnp.uint8).reshape(*shape[:-1], words * 4)
    return rows[..., : shape[-1]]


def windows_variable(window: jax.Array) -> dict[str, dict[str, jax.Array]]:
    """Variables, for `apply`, that tell every `Dropout` where in the batch its windows stand."""
    return {"batch": {"window": window}}


class Dropout(nn.Module):
    """Dropout by eight random bits a number instead of 32, which cost more than a layer.

    The rate is rounded to 1/256; what is kept is scaled by exactly the rounded one. The first
    axis is that of the batch, or has it as its slower part ([B * L, ...]): then a window is
    masked alike wherever it is worked on, if `windows_variable` says which one it is. Else each
    row counts as a window.
    Source: Srivastava et al. (2014), Dropout.
    """

    rate: float

    def __call__(self, x: jax.Array, *, deterministic: bool) -> jax.Array:
        """Zeroes entries at random and scales the others; the identity if deterministic."""
        if deterministic or not self.rate:
            return x
        dropped = round(self.rate * 256)
        assert self.scope is not None
        window = self.scope.root.get_variable("batch", "window", jnp.arange(x.shape[0]))
        kept = _random_bytes(self.make_rng("dropout"), x.shape, window) >= dropped
        return jnp.where(kept, x * (256 / (256 - dropped)), jnp.zeros((), x.dtype))


def attend(
    query: jax.Array, past: KeyValue, mask: jax.Array, dropout: Dropout, *, deterministic: bool
) -> jax.Array:
    """Scaled dot-product attention with float32 softmax.

    Args:
        query: [B, H, Q, K].
        past: keys and values, [B, H, L, K].
        mask: bool, broadcastable to [B, H, Q, L].
        dropout: applied to the attention weights.
        deterministic: no dropout.

    Returns:
        [B, Q, H * K].
    """
    chex.assert_equal_shape([past.key, past.value])
    chex.assert_equal_shape_prefix([query, past.key], 2)
    no_dropout = deterministic or not dropout.rate
    if jax.default_backend() != "cpu" and no_dropout:
        q, k, v = (jnp.swapaxes(x, 1, 2) for x in (query, past.key, past.value))
        out = jax.nn.dot_product_attention(q, k, v, mask=mask)
    else:  # On a CPU the plain form is faster; the library call knows no dropout.
        scale = query.shape[-1] ** -0.5
        scores = jnp.einsum("bhqk,bhlk->bhql", query * scale, past.key).astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(mask, scores, -1e30), axis=-1)
        weights = dropout(weights, deterministic=deterministic).astype(query.dtype)
        out = jnp.swapaxes(jnp.einsum("bhql,bhlk->bhqk", weights, past.value), 1, 2)
    return out.reshape(*out.shape[:2], math.prod(out.shape[2:]))


def split_heads(x: jax.Array, parts: int, heads: int) -> list[jax.Array]:
    """[..., L, parts * H * K] -> `parts` arrays [..., H, L, K]."""
    # Cut before the heads are: of both orders, the gradient of this one takes a CPU less time.
    each = jnp.split(x, parts, axis=-1)
    shape = *x.shape[:-1], heads, x.shape[-1] // (parts * heads)
    return [jnp.swapaxes(y.reshape(shape), -2, -3) for y in each]


class Linear(nn.Dense):
    """A dense layer that multiplies flat matrices.

    With two batch axes XLA's CPU backend transposes the whole activation to get the
    weights' gradient, which takes longer than the product itself.
    """

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[..., D] -> [..., features]."""
        flat = super().__call__(inputs.reshape(math.prod(inputs.shape[:-1]), inputs.shape[-1]))
        return flat.reshape(*inputs.shape[:-1], self.features)


def residual_init(num_layers: int) -> nn.initializers.Initializer:
    """Initialiser of a layer that adds to the residual stream, two of which stand in each block.

    The variance of the stream then does not grow with depth, as in Radford et al. (2019), GPT-2.
    """
    return nn.initializers.variance_scaling(0.5 / num_layers, "fan_in", "truncated_normal")


class FeedForward(nn.Module):
    """LayerNorm, wide layer, GELU, back to the residual stream."""

    config: ModelConfig
    dtype: Any
    num_layers: int = 1  # Blocks of the residual stream.

    @nn.compact
    def __call__(self, x: jax.Array, *, deterministic: bool) -> jax.Array:
        """[..., D] -> [..., D], to be added to the residual stream."""
        # Flat, so that the loops between the products index nothing but a row and a column.
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        hidden = nn.LayerNorm(dtype=self.dtype, name="norm")(flat)
        hidden = Linear(self.config.tf_dim_feedforward, dtype=self.dtype, name="wide")(hidden)
        hidden = nn.gelu(hidden)
        init = residual_init(self.num_layers)
        out = Linear(x.shape[-1], dtype=self.dtype, kernel_init=init, name="out")(hidden)
        return Dropout(self.config.tf_dropout)(out, deterministic=deterministic).reshape(x.shape)


class Block(nn.Module):
    """Self-attention and feed-forward, each added to the residual stream."""

    config: ModelConfig
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array,
        past: KeyValue | None = None,
        index: jax.Array | int = 0,
        *,
        skip: int = 0,
        deterministic: bool = True,
    ) -> tuple[jax.Array, KeyValue]:
        """Applies the block to new positions.

        Args:
            x: [B, Q, D], the new positions.
            mask: bool [Q or 1, keys] or with leading axes that broadcast to [B, H].
            past: cached keys and values, [B, H, keys, K]; without it the new positions
                attend to themselves only, and keys = Q.
            index: where in `past` the new positions stand.
            skip: how many of the first new positions are only attended to.
            deterministic: no dropout.

        Returns:
            [B, Q - skip, D] and the keys and values, now with all new positions.
        """
        chex.assert_rank(x, 3)
        heads, width = self.config.tf_n_head, self.config.tf_n_embd
        normed = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        qkv = Linear(3 * width, dtype=self.dtype, name="qkv")(normed)
        query, key, value = split_heads(qkv, 3, heads)
        if past is not None:
            key = jax.lax.dynamic_update_slice_in_dim(past.key, key, index, axis=2)
            value = jax.lax.dynamic_update_slice_in_dim(past.value, value, index, axis=2)
        present = KeyValue(key, value)
        x, query, mask = x[:, skip:], query[:, :, skip:], mask[..., skip:, :]
        dropout = Dropout(self.config.tf_attn_dropout)
        mixed = attend(query, present, mask, dropout, deterministic=deterministic)
        layers = self.config.tf_n_layer
        init = residual_init(layers)
        out = Linear(width, dtype=self.dtype, kernel_init=init, name="out")(mixed)
        x = x + Dropout(self.config.tf_dropout)(out, deterministic=deterministic)
        feed_forward = FeedForward(self.config, self.dtype, layers, name="feed_forward")
        return x + feed_forward(x, deterministic=deterministic), present
