"""The policy: tokens and a memory in, action logits and a new memory out.

CompAD writes what leaves its window into a memory (`models/memory/`). AD is CompAD with the
memory rule `none`: what leaves its window is gone.
"""

from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from compad_jax.config import Config, ModelConfig
from compad_jax.envs.protocol import EnvSpec
from compad_jax.models.memory.protocol import Memory, MemoryFactory, memory_factory
from compad_jax.models.reconstruction import Reconstructor
from compad_jax.models.tokens import token_features
from compad_jax.models.transformer import Block, Linear, causal_mask, windows_variable
from compad_jax.types import KeyValue, Tokens

Params = Any


class DropoutKey(NamedTuple):
    """What decides which numbers are dropped."""

    key: jax.Array  # PRNG key.
    window: jax.Array  # int [B], where in the whole batch each window stands.


class Policy(nn.Module):
    """Embedding, memory rule, decoder and head; every method is pure under `apply`."""

    config: ModelConfig
    spec: EnvSpec
    window: int  # W: the most tokens between two compressions.
    compress_length: int  # Oldest tokens of a full window that a compression takes.
    memory_factory: MemoryFactory  # A field, so that policies of other rules are not equal.
    dtype: Any = jnp.float32  # Of the computation; parameters are float32.

    def setup(self) -> None:
        """Declares the layers."""
        width, normal = self.config.tf_n_embd, nn.initializers.normal
        # Most of a token's features are zero.
        self.embedding = Linear(width, use_bias=False, dtype=self.dtype, kernel_init=normal(0.3))
        self.position = self.param("position", normal(0.1), (self.window, width))
        self.blocks = [Block(self.config, self.dtype) for _ in range(self.config.tf_n_layer)]
        # Always float32: label smoothing is undone exactly only if logits are precise.
        self.norm = nn.LayerNorm()
        self.head = nn.Dense(self.spec.num_actions, precision=jax.lax.Precision.HIGHEST)
        self.memory = self.memory_factory(self.config, self.dtype)
        if self.config.reconstruction_weight:
            self.reconstructor = Reconstructor(self.config, self.spec, self.window, self.dtype)

    def embed(self, tokens: Tokens) -> jax.Array:
        """Tokens [..., L] -> float [..., L, D], without positions."""
        return self.embedding(token_features(tokens, self.spec).astype(self.dtype))

    def initial_memory(self, batch: int) -> Memory:
        """Returns the memory before any compression, for B histories."""
        # Constants would not vary over devices as later memories do, which a scan inside a
        # `shard_map` refuses. A choice between equals that depends on a parameter does vary.
        either = self.position[0, 0] > 0
        return jax.tree.map(lambda x: jax.lax.select(either, x, x), self.memory.initial(batch))

    def write(
        self, memory: Memory, embeddings: jax.Array, mask: jax.Array, deterministic: bool = True
    ) -> Memory:
        """Compresses tokens: (old memory, embeddings [B, L, D], mask [B, L]) -> new memory."""
        segment = self._place(embeddings, 0)
        new = self.memory.write(memory, segment, mask, deterministic=deterministic)
        chex.assert_trees_all_equal_shapes_and_dtypes(memory, new)
        return new

    def read(self, memory: Memory) -> jax.Array:
        """Returns what the memory shows to the decoder, [B, M, D]; M is 0 for AD."""
        latents = self.memory.read(memory)
        chex.assert_shape(latents, (None, None, self.config.tf_n_embd))
        return latents.astype(self.dtype)

    def reconstruct(self, memory: Memory, length: int) -> jax.Array:
        """What the last compressed segment was: memory -> float32 [B, length, classes]."""
        return self.reconstructor(self.read(memory))[:, :length]

    def decode(
        self, latents: jax.Array, embeddings: jax.Array, deterministic: bool = True
    ) -> tuple[jax.Array, tuple[KeyValue, ...]]:
        """Reads a whole segment at once.

        Args:
            latents: what the memory shows, [B, M, D].
            embeddings: [B, L, D]; L may be 0. Padding on the right changes no real token.
            deterministic: no dropout.

        Returns:
            Float32 logits [B, L, A], and the cache: N layers of [B, H, M + L, K].
        """
        chex.assert_rank([latents, embeddings], 3)
        num_latents, length = latents.shape[1], embeddings.shape[1]
        x = jnp.concatenate([latents, self._place(embeddings, 0)], axis=1)
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
        size = cache[0].key.shape[2]
        index = size - self.window + length
        mask = (jnp.arange(size) <= index)[None]
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
        return self.head(self.norm(x))


def make_policy(config: Config, spec: EnvSpec) -> Policy:
    """Builds the policy that the settings describe.

    Raises:
        ConfigError: `model.memory_update` names no registered rule.
    """
    dtype = config.model.dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return Policy(
        config=config.model,
        spec=spec,
        window=config.data.max_uncompressed_length,
        compress_length=config.data.max_compress_length,
        memory_factory=memory_factory(config.model),
        dtype=jnp.dtype(dtype),
    )


def apply_method(
    policy: Policy, params: Params, method: str, *args: Any, dropout: DropoutKey | None = None
) -> Any:
    """Calls a method of the policy, with dropout if there is a key for it."""
    if dropout is None:
        return policy.apply({"params": params}, *args, method=method)
    variables = {"params": params} | windows_variable(dropout.window)
    rngs = {"dropout": dropout.key}
    return policy.apply(variables, *args, deterministic=False, rngs=rngs, method=method)
