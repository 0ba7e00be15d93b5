"""The training path: a policy over the whole segments of many windows at once.

`act` is the other way to run the same functions on the same parameters; tests hold their
logits equal.
"""

from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from compad_jax.backend.scan_sum import scan_sum
from compad_jax.models.policy import Params, Policy, apply_method
from compad_jax.models.transformer import DROPOUT_MASK
from compad_jax.types import Segments

# Logits [..., A] and actions [...] to a loss of each token, [...].
TokenLoss = Callable[[jax.Array, jax.Array], jax.Array]


class Unrolled(NamedTuple):
    """What the training path computes."""

    logits: jax.Array  # float32 [B, S, L, A]
    memories: jax.Array  # [S, B, M, D], what each segment is decoded with.


class _Part(NamedTuple):
    """Consecutive segments of one length, ready to be decoded."""

    inputs: tuple[jax.Array, jax.Array]  # Memories [S, B, M, D] and embeddings [S, B, L, D].
    keys: jax.Array | None  # [S], of the dropout.
    targets: Any  # Whatever belongs to the tokens, each [S, B, L].


def unroll(
    policy: Policy,
    params: Params,
    segments: Segments,
    *,
    key: jax.Array | None = None,
    all_at_once: bool | None = None,
) -> Unrolled:
    """Training path: compresses segment after segment and decodes each with its memory.

    Args:
        policy: the policy.
        params: its parameters.
        segments: tokens and mask [B, S, L]; with latents, a segment before the last holds
            at most `policy.compress_length` tokens.
        key: PRNG key of the dropout, consumed; None: no dropout.
        all_at_once: decode all segments in one call, which fills an accelerator, or one
            by one, so that activations stay in a CPU's cache; None: by the backend. The
            logits are the same.

    Returns:
        Logits and memories; the logits of a segment depend on all earlier segments
        through its memory only.
    """
    memories, parts = _encode(policy, params, segments, key)

    def decode(part: _Part) -> jax.Array:
        if _fills_device(all_at_once):
            return _decode_all(policy, params, part.inputs, part.keys)
        return jax.lax.map(lambda x: _decode(policy, params, *x), (part.inputs, part.keys))

    return Unrolled(_join(map(decode, parts), segments.mask.shape[-1]), memories)


def unroll_loss(
    policy: Policy,
    params: Params,
    segments: Segments,
    token_loss: TokenLoss,
    weights: jax.Array,
    *,
    key: jax.Array | None = None,
    all_at_once: bool | None = None,
) -> tuple[jax.Array, Unrolled]:
    """As `unroll`, with the weighted sum of a loss of all tokens, to be differentiated.

    Where segments are decoded one by one, each is differentiated before the next is decoded.

    Args:
        policy: the policy.
        params: its parameters.
        segments: [B, S, L].
        token_loss: of `segments.action`.
        weights: of the tokens, [B, S, L]; 0 where there is none.
        key: PRNG key of the dropout, consumed; None: no dropout.
        all_at_once: see `unroll`; the gradient is the same, too.

    Returns:
        The loss, float [], and what `unroll` returns; no gradient flows through its logits.
    """
    chex.assert_equal_shape([segments.mask, weights])
    targets = (segments.action, weights)
    memories, parts = _encode(policy, params, segments, key, targets)
    fills_device = _fills_device(all_at_once)
    decode = _decode_all if fills_device else _decode

    def term(params: Params, inputs: Any, constants: Any) -> tuple[jax.Array, jax.Array]:
        keys, (action, weight) = constants
        logits = decode(policy, params, inputs, keys)
        return (token_loss(logits, action) * weight).sum(), jax.lax.stop_gradient(logits)

    add_up = term if fills_device else partial(scan_sum, term)
    done = [add_up(params, part.inputs, (part.keys, part.targets)) for part in parts]
    losses, logits = zip(*done, strict=True)
    return sum(losses), Unrolled(_join(logits, weights.shape[-1]), memories)


def _encode(
    policy: Policy,
    params: Params,
    segments: Segments,
    key: jax.Array | None,
    targets: Any = (),
) -> tuple[jax.Array, list[_Part]]:
    """All memories [S, B, M, D], and all that is to be decoded with them, in order."""
    batch, num_segments, length = segments.mask.shape
    compress_key, decode_key = (None, None) if key is None else jax.random.split(key)
    # Segments first: they are read one by one.
    tokens, mask, targets = jax.tree.map(
        lambda x: jnp.swapaxes(x, 0, 1), (segments.tokens, segments.mask, targets)
    )
    embeddings = apply_method(policy, params, "embed", tokens)
    chex.assert_shape(embeddings, (num_segments, batch, length, policy.config.tf_n_embd))
    # Only the last segment can be longer than what a compression takes.
    short = min(length, policy.compress_length) if policy.config.n_latent else length
    compressed, compressed_mask = embeddings[:-1, :, :short], mask[:-1, :, :short]
    memories = _memories(policy, params, compressed, compressed_mask, compress_key)
    keys = jax.vmap(lambda n: _fold_in(decode_key, n))(jnp.arange(num_segments))
    whole = _Part((memories, embeddings), keys, targets)
    if short == length:
        return memories, [whole]
    early, last = (jax.tree.map(itemgetter(cut), whole) for cut in (slice(-1), slice(-1, None)))
    targets = jax.tree.map(lambda x: x[:, :, :short], early.targets)
    return memories, [_Part((memories[:-1], compressed), early.keys, targets), last]


def _fills_device(all_at_once: bool | None) -> bool:
    return jax.default_backend() != "cpu" if all_at_once is None else all_at_once


def _decode(
    policy: Policy, params: Params, inputs: tuple[jax.Array, jax.Array], key: jax.Array | None
) -> jax.Array:
    """Logits [B, L, A] of one segment: memory [B, M, D] and embeddings [B, L, D]."""
    return apply_method(policy, params, "decode", *inputs, dropout=key)[0]


def _decode_all(
    policy: Policy, params: Params, inputs: tuple[jax.Array, jax.Array], keys: jax.Array | None
) -> jax.Array:
    """Logits [S, B, L, A] of all segments in one call: inputs as above, [S, ...]."""
    # Windows first, as `Dropout` wants them.
    flat = jax.tree.map(lambda x: jax.lax.collapse(jnp.swapaxes(x, 0, 1), 0, 2), inputs)
    logits = _decode(policy, params, flat, None if keys is None else keys[0])
    num_segments, batch, length, _ = inputs[1].shape
    return jnp.swapaxes(logits.reshape(batch, num_segments, length, -1), 0, 1)


def _join(logits: Iterable[jax.Array], length: int) -> jax.Array:
    """Logits of parts, [S, B, up to length, A] each -> [B, all S, length, A], zeros at the end."""
    padded = [jnp.pad(x, [(0, 0), (0, 0), (0, length - x.shape[2]), (0, 0)]) for x in logits]
    return jnp.swapaxes(jnp.concatenate(padded), 0, 1)


def _memories(
    policy: Policy,
    params: Params,
    embeddings: jax.Array,
    mask: jax.Array,
    key: jax.Array | None,
) -> jax.Array:
    """The memories [S, B, M, D] before, between and after S - 1 segments [S - 1, B, L, D]."""
    first = apply_method(policy, params, "initial_memory", mask.shape[1])
    projected = apply_method(policy, params, "project", embeddings)

    @_recomputed
    def compress(memory: jax.Array, segment: Any) -> jax.Array:
        depth, keys_values, segment_mask = segment
        if policy.config.bptt_depth:
            cut = depth % policy.config.bptt_depth == 0
            memory = jnp.where(cut, jax.lax.stop_gradient(memory), memory)
        dropout = _fold_in(key, depth)
        return apply_method(
            policy, params, "compress", memory, keys_values, segment_mask, dropout=dropout
        )

    def step(memory: jax.Array, segment: Any) -> tuple[jax.Array, jax.Array]:
        memory = compress(memory, segment)
        return memory, memory

    segments = (jnp.arange(len(mask)), projected, mask)
    _, later = jax.lax.scan(step, first, segments)
    return jnp.concatenate([first[None], later])


def _recomputed(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Drops activations until the backward pass, all but products with weights and random masks.

    Computing the rest again in the cache is faster than fetching it from memory; multiplying
    or drawing random numbers again is not.
    """
    policies = jax.checkpoint_policies
    policy = policies.save_from_both_policies(
        policies.dots_with_no_batch_dims_saveable, policies.save_only_these_names(DROPOUT_MASK)
    )
    return jax.checkpoint(function, policy=policy)


def reconstruct_segments(policy: Policy, params: Params, memories: jax.Array, length: int) -> Any:
    """Logits [S - 1, B, L, classes] of each compressed segment, from the memory it went into."""
    return jax.lax.map(
        lambda memory: apply_method(policy, params, "reconstruct", memory, length), memories[1:]
    )


def _fold_in(key: jax.Array | None, index: jax.Array) -> jax.Array | None:
    return None if key is None else jax.random.fold_in(key, index)
