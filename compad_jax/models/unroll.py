"""The policy over whole windows of histories: segment after segment, memory to memory.

This is the definition of what is trained. `fast_unroll` computes the same faster, and `act` runs
the same methods one token at a time; tests hold all three equal.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from compad_jax.config import ModelConfig
from compad_jax.models.memory.protocol import Memory
from compad_jax.models.policy import DropoutKey, Params, Policy, apply_method
from compad_jax.types import Segments


class Unrolled(NamedTuple):
    """What a policy makes of segments."""

    logits: jax.Array  # float32 [B, S, L, A]
    memories: Memory  # What each segment is decoded with; leading axes [S, B].


def unroll(
    policy: Policy, params: Params, segments: Segments, key: jax.Array | None = None
) -> Unrolled:
    """Decodes each segment with the memory of all segments before it, then compresses it.

    Args:
        policy: the policy.
        params: its parameters.
        segments: tokens and mask [B, S, L].
        key: PRNG key of the dropout, consumed; None: no dropout.

    Returns:
        Logits and memories; the logits of a segment depend on all earlier segments
        through its memory only.
    """
    batch, num_segments, _ = segments.mask.shape
    dropout = None if key is None else DropoutKey(key, jnp.arange(batch))

    def step(memory: Memory, segment: Any) -> tuple[Memory, Unrolled]:
        tokens, mask, index = segment
        decode_key, write_key = dropout_keys(dropout, index)
        embeddings = apply_method(policy, params, "embed", tokens)
        latents = apply_method(policy, params, "read", memory)
        logits, _ = apply_method(policy, params, "decode", latents, embeddings, dropout=decode_key)
        kept = _cut_gradient(policy.config, memory, index, num_segments - 1)
        new = apply_method(policy, params, "write", kept, embeddings, mask, dropout=write_key)
        return new, Unrolled(logits, memory)

    first = apply_method(policy, params, "initial_memory", batch)
    tokens, mask = segments_first((segments.tokens, segments.mask))
    _, (logits, memories) = jax.lax.scan(step, first, (tokens, mask, jnp.arange(num_segments)))
    return Unrolled(segments_first(logits), memories)


def segments_first(tree: Any) -> Any:
    """[B, S, ...] -> [S, B, ...], because a scan takes segments one by one; and back."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def dropout_keys(
    dropout: DropoutKey | None, index: jax.Array
) -> tuple[DropoutKey, DropoutKey] | tuple[None, None]:
    """Keys for decoding and for compressing the segment of this index; None without a key."""
    if dropout is None:
        return None, None
    decode_key, write_key = jax.random.split(jax.random.fold_in(dropout.key, index))
    return dropout._replace(key=decode_key), dropout._replace(key=write_key)


def _cut_gradient(
    config: ModelConfig, memory: Memory, index: jax.Array, num_compressions: int
) -> Memory:
    """Stops the gradient between pieces of `bptt_depth` compressions; if that is 0, nowhere.

    Gradients reach back to the last cut: those of a target pass through 1 to `bptt_depth`
    compressions, by where it stands in its piece. Pieces are counted from the end of the window,
    so that only the first can be shorter.
    """
    if not config.bptt_depth:
        return memory
    cut = (index > 0) & ((num_compressions - index) % config.bptt_depth == 0)
    return jax.tree.map(lambda x: jnp.where(cut, jax.lax.stop_gradient(x), x), memory)
