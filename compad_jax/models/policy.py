"""The policy: a segment's tokens and a memory in, action logits and a new memory out.

CompAD compresses what leaves its window into latents; AD is CompAD with no latents, so
that what leaves its window is gone.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from compad_jax.config import Config, ModelConfig
from compad_jax.envs.protocol import EnvSpec
from compad_jax.models.compressor import Compressor
from compad_jax.models.reconstruction import Reconstructor
from compad_jax.models.tokens import token_features
from compad_jax.models.transformer import Block, Linear, causal_mask
from compad_jax.types import KeyValue, Tokens

Params = Any


class Policy(nn.Module):
    """Embedding, compressor, decoder and head; every method is pure under `apply`.

    `init_params` draws the parameters, not `Policy.init`.
    """

    config: ModelConfig
    spec: EnvSpec
    window: int  # W: the most tokens between two compressions.
    compress_length: int  # Oldest tokens of a full window that a compression takes.
    dtype: Any = jnp.float32  # Of the computation; parameters are float32.

    def setup(self) -> None:
        """Declares the layers."""
        width = self.config.tf_n_embd
        self.embedding = Linear(width, use_bias=False, dtype=self.dtype)
        self.position = self.param("position", nn.initializers.zeros, (self.window, width))
        self.blocks = [Block(self.config, self.dtype) for _ in range(self.config.tf_n_layer)]
        self.norm = nn.LayerNorm(dtype=self.dtype)
        self.head = Linear(self.spec.num_actions, dtype=self.dtype)
        if self.config.n_latent:
            shape = (self.config.n_latent, width)
            self.initial_latents = self.param("initial_latents", nn.initializers.zeros, shape)
            self.compressor = Compressor(self.config, self.dtype)
        if self.config.reconstruction_weight:
            self.reconstructor = Reconstructor(self.config, self.spec, self.window, self.dtype)

    def embed(self, tokens: Tokens) -> jax.Array:
        """Tokens [..., L] -> float [..., L, D], without positions."""
        return self.embedding(token_features(tokens, self.spec).astype(self.dtype))

    def initial_memory(self, batch: int) -> jax.Array:
        """The memory before any compression, [B, M, D]; M is 0 for AD."""
        # Nothing, but of a parameter: on several devices it varies over them as a memory does.
        latents = self.initial_latents if self.config.n_latent else self.position[:0]
        return jnp.broadcast_to(latents.astype(self.dtype), (batch, *latents.shape))

    def project(self, embeddings: jax.Array) -> tuple[KeyValue, ...]:
        """The part of a compression that needs no memory, [..., L, D]; () for AD."""
        if not self.config.n_latent:
            return ()
        return self.compressor.project(self._place(embeddings, 0))

    def compress(
        self,
        memory: jax.Array,
        projected: tuple[KeyValue, ...],
        mask: jax.Array,
        deterministic: bool = True,
    ) -> jax.Array:
        """(old memory [B, M, D], projected segment, mask [B, L]) -> new memory; AD: the old."""
        if not self.config.n_latent:
            return memory
        return self.compressor(memory, projected, mask, deterministic=deterministic)

    def reconstruct(self, memory: jax.Array, length: int) -> jax.Array:
        """What the last compressed segment was: [B, M, D] -> float32 [B, length, classes]."""
        return self.reconstructor(memory)[:, :length]

    def decode(
        self, memory: jax.Array, embeddings: jax.Array, deterministic: bool = True
    ) -> tuple[jax.Array, tuple[KeyValue, ...]]:
        """Reads a whole segment at once.

        Args:
            memory: [B, M, D].
            embeddings: [B, L, D]; L may be 0. Padding on the right changes no real token.
            deterministic: no dropout.

        Returns:
            Float32 logits [B, L, A], and the cache: N layers of [B, H, M + L, K].
        """
        chex.assert_rank([memory, embeddings], 3)
        num_latents, length = memory.shape[1], embeddings.shape[1]
        x = jnp.concatenate([memory, self._place(embeddings, 0)], axis=1)
        mask = causal_mask(num_latents, length)
        cache = []
        for number, block in enumerate(self.blocks, start=1):
            # Nothing reads what the last block makes of the latents.
            skip = num_latents if number == len(self.blocks) else 0
            x, present = block(x, mask, skip=skip, deterministic=deterministic)
            cache.append(present)
        return self._logits(x), tuple(cache)

    def decode_next(
        self, embedding: jax.Array, cache: tuple[KeyValue, ...], length: jax.Array
    ) -> tuple[jax.Array, tuple[KeyValue, ...]]:
        """Reads one more token.

        Args:
            embedding: [B, 1, D], the new token.
            cache: N layers of [B, H, M + W, K].
            length: int [], tokens already in the window.

        Returns:
            Float32 logits [B, A] and the cache with the new token.
        """
        x = self._place(embedding, length)
        index = self.config.n_latent + length
        mask = (jnp.arange(cache[0].key.shape[2]) <= index)[None]
        after = []
        for block, past in zip(self.blocks, cache, strict=True):
            x, present = block(x, mask, past, index)
            after.append(present)
        return self._logits(x)[:, 0], tuple(after)

    def _place(self, embeddings: jax.Array, start: jax.Array | int) -> jax.Array:
        """Adds the positions from `start` on; positions count from the window's start."""
        length = embeddings.shape[-2]
        position = jax.lax.dynamic_slice_in_dim(self.position, start, length)
        return embeddings + position.astype(self.dtype)

    def _logits(self, x: jax.Array) -> jax.Array:
        return self.head(self.norm(x)).astype(jnp.float32)


def make_policy(config: Config, spec: EnvSpec) -> Policy:
    """Builds the policy that the settings describe."""
    dtype = config.model.dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return Policy(
        config=config.model,
        spec=spec,
        window=config.data.max_uncompressed_length,
        compress_length=config.data.max_compress_length,
        dtype=jnp.dtype(dtype),
    )


def apply_method(
    policy: Policy, params: Params, method: str, *args: Any, dropout: jax.Array | None = None
) -> Any:
    """Calls a method of the policy, with dropout if there is a key for it."""
    if dropout is None:
        return policy.apply({"params": params}, *args, method=method)
    rngs = {"dropout": dropout}
    return policy.apply({"params": params}, *args, deterministic=False, rngs=rngs, method=method)
