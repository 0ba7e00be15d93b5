"""The memory rules that come with the package.

All but `NoMemory` keep n_latent vectors m_i and let a compressor make a candidate c_i for each
(`memory/compressor.py`); they differ in how the two become the new memory. In the equations,
[x | y] is a concatenation and s() the logistic sigmoid. Gates are sown for those who
watch them, see `models.act.find_gates`.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from compad_jax.config import ModelConfig
from compad_jax.models.memory.compressor import Compressor


class NoMemory(nn.Module):
    """Remembers nothing: the policy is AD, and what leaves its window is gone."""

    config: ModelConfig
    dtype: Any

    def initial(self, batch: int) -> jax.Array:
        """Returns no latents, [B, 0, D]."""
        return jnp.zeros((batch, 0, self.config.tf_n_embd), self.dtype)

    def write(
        self, memory: jax.Array, segment: jax.Array, mask: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """Returns the empty memory, [B, 0, D]."""
        del segment, mask, deterministic
        return memory

    def read(self, memory: jax.Array) -> jax.Array:
        """Returns no tokens, [B, 0, D]."""
        return memory


class ReplaceMemory(nn.Module):
    """m' = c. The base of the other rules, which override `update`.

    Source: Bulatov et al. (2022), Recurrent memory transformer.
    """

    config: ModelConfig
    dtype: Any

    def setup(self) -> None:
        """Declares the first latents and the compressor."""
        shape = self.config.n_latent, self.config.tf_n_embd
        self.initial_latents = self.param("initial_latents", nn.initializers.normal(1.0), shape)
        self.compressor = Compressor(self.config, self.dtype)

    def initial(self, batch: int) -> jax.Array:
        """Returns learned latents, the same for the whole batch, [B, M, D]."""
        latents = self.initial_latents.astype(self.dtype)
        return jnp.broadcast_to(latents, (batch, *latents.shape))

    def write(
        self, memory: jax.Array, segment: jax.Array, mask: jax.Array, *, deterministic: bool = True
    ) -> jax.Array:
        """Returns the updated latents, [B, M, D]."""
        candidate = self.compressor(memory, segment, mask, deterministic=deterministic)
        chex.assert_equal_shape([memory, candidate])
        return self.update(memory, candidate)

    def read(self, memory: jax.Array) -> jax.Array:
        """Returns the latents themselves, [B, M, D]."""
        return memory

    def update(self, memory: jax.Array, candidate: jax.Array) -> jax.Array:
        """(m, c) -> m', all [B, M, D]."""
        del memory
        return candidate


class ResidualMemory(ReplaceMemory):
    """m' = m + c."""

    def update(self, memory: jax.Array, candidate: jax.Array) -> jax.Array:
        """(m, c) -> m', all [B, M, D]."""
        return memory + candidate


class MultiplicativeMemory(ReplaceMemory):
    """g = s(W [m | c] + b), a number a channel; m' = g c + (1 - g) m."""

    @nn.compact
    def update(self, memory: jax.Array, candidate: jax.Array) -> jax.Array:
        """(m, c) -> m', all [B, M, D]."""
        both = jnp.concatenate([memory, candidate], axis=-1)
        gate = nn.sigmoid(nn.Dense(memory.shape[-1], dtype=self.dtype, name="gate")(both))
        self.sow("intermediates", "opened", gate)
        return gate * candidate + (1 - gate) * memory


class GruMemory(ReplaceMemory):
    """The update of a gated recurrent unit whose state is m and whose input is c.

    [r | z] = s(W [m | c] + b); h = tanh(U [r m | c] + d); m' = (1 - z) m + z h.

    Source: Parisotto et al. (2020), Stabilizing transformers for reinforcement learning, the
    GRU-type gate. Deviation: b starts at 0, so that z is one half, instead of near 0.
    """

    @nn.compact
    def update(self, memory: jax.Array, candidate: jax.Array) -> jax.Array:
        """(m, c) -> m', all [B, M, D]."""
        width = memory.shape[-1]
        both = jnp.concatenate([memory, candidate], axis=-1)
        gates = nn.sigmoid(nn.Dense(2 * width, dtype=self.dtype, name="gates")(both))
        reset, gate = jnp.split(gates, 2, axis=-1)
        both = jnp.concatenate([reset * memory, candidate], axis=-1)
        hidden = jnp.tanh(nn.Dense(width, dtype=self.dtype, name="hidden")(both))
        self.sow("intermediates", "opened", gate)
        return (1 - gate) * memory + gate * hidden


class SlotGateMemory(ReplaceMemory):
    """g_i = clip(2 s(w . [m_i | c_i] + b) - 1/2, 0, 1), one number a latent.

    m_i' = g_i c_i + (1 - g_i) m_i. A gate that is exactly 0 holds its latent exactly, for as
    many compressions as it stays shut.
    """

    @nn.compact
    def update(self, memory: jax.Array, candidate: jax.Array) -> jax.Array:
        """(m, c) -> m', all [B, M, D]."""
        both = jnp.concatenate([memory, candidate], axis=-1)
        share = nn.sigmoid(nn.Dense(1, dtype=self.dtype, name="gate")(both))
        gate = jnp.clip(2 * share - 0.5, 0, 1)
        self.sow("intermediates", "opened", gate)
        return gate * candidate + (1 - gate) * memory


class QuantisedMemory(ReplaceMemory):
    """m' = tanh(c), rounded to -1, -1/2, 0, 1/2 or 1; gradients pass as if not rounded.

    Source of the gradient: Bengio et al. (2013), Estimating or propagating gradients through
    stochastic neurons, the straight-through estimator.
    """

    def update(self, memory: jax.Array, candidate: jax.Array) -> jax.Array:
        """(m, c) -> m', all [B, M, D]."""
        del memory
        squashed = jnp.tanh(candidate)
        return squashed + jax.lax.stop_gradient(jnp.round(2 * squashed) / 2 - squashed)
