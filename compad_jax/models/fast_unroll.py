"""The training loss, faster: the same logits, memories and gradients as those of `unroll`.

What is done differently:

-   All tokens are embedded in one product.
-   Segments before the last are cut to the length that a compression takes, as they hold no more.
-   A CPU decodes segments one by one and differentiates each before the next (`scan_sum`), so
    that activations stay in its cache. An accelerator decodes all segments in one call, whose
    dropout masks are not those of `unroll`.
-   Of segments that are decoded one by one, no more is decoded than the longest window has, rounded
    up to the next of some lengths.

A long window is worked off piece by piece: each begins where the one before ended (`Before`).
"""

from collections.abc import Callable, Iterable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from compad_jax.backend.scan_sum import scan_sum
from compad_jax.models.memory.protocol import Memory
from compad_jax.models.policy import DropoutKey, Params, Policy, apply_method
from compad_jax.models.unroll import Unrolled, dropout_keys, segments_first
from compad_jax.types import Segments

_FEW_COMPRESSIONS = 4  # So many are compiled one by one.

# Logits [..., A] and actions [...] to a loss of each token, [...].
TokenLoss = Callable[[jax.Array, jax.Array], jax.Array]


class Before(NamedTuple):
    """The end of the piece before, whose last segment is the first of this piece."""

    memory: Memory  # With which that segment was decoded.
    number: jax.Array  # int [], of that segment in its window.


class _SegmentGroup(NamedTuple):
    """Consecutive segments of one length and all that their loss needs."""

    latents: jax.Array  # float [S, B, M, D], what the memories show.
    embeddings: jax.Array  # float [S, B, L, D]
    action: jax.Array  # int [S, B, L]
    weight: jax.Array  # float [S, B, L]
    dropout: DropoutKey | None  # PRNG keys [S], windows [S, B].
    longest: jax.Array | None  # int [S], tokens of the longest window.


def unroll_loss(
    policy: Policy,
    params: Params,
    segments: Segments,
    token_loss: TokenLoss,
    weights: jax.Array,
    *,
    dropout: DropoutKey | None = None,
    before: Before | None = None,
    all_at_once: bool | None = None,
    cuts: tuple[int, ...] = (),
) -> tuple[jax.Array, Unrolled]:
    """As `unroll`, with the weighted sum of a loss of all tokens, to be differentiated.

    Gradients pass through all compressions; `bptt_depth` is for whoever cuts windows in pieces.

    Args:
        policy: the policy.
        params: its parameters.
        segments: [B, S, L]; with a memory, a segment before the last holds at most
            `policy.compress_length` tokens.
        token_loss: of `segments.action`.
        weights: of the tokens, [B, S, L]; 0 where there is none.
        dropout: its key, consumed; None: no dropout.
        before: where the piece before ended. The first segment is then compressed only: its
            logits are left out of what is returned, and its weights count for nothing.
        all_at_once: decode all segments in one call, or one by one; None: by the backend.
        cuts: lengths, ascending. Segments that are decoded one by one are cut to the first that
            none of the windows exceeds.

    Returns:
        The loss, float [], and what `unroll` returns; no gradient flows through its logits.
    """
    chex.assert_equal_shape([segments.mask, weights])
    num_segments, length = segments.mask.shape[1:]
    tokens, mask, action, weight = segments_first(
        (segments.tokens, segments.mask, segments.action, weights)
    )
    embeddings = apply_method(policy, params, "embed", tokens)
    # Only the last segment can be longer than what a compression takes.
    short = min(length, policy.compress_length) if policy.config.remembers else length
    compressed = embeddings[:-1, :, :short], mask[:-1, :, :short]
    index = jnp.arange(num_segments)
    if before is None:
        first = apply_method(policy, params, "initial_memory", mask.shape[1])
    else:
        first, index = before.memory, before.number + index
    memories = _write_all(policy, params, first, (*compressed, index[:-1]), dropout)
    latents = jax.vmap(lambda memory: apply_method(policy, params, "read", memory))(memories)
    keys, _ = jax.vmap(lambda index: dropout_keys(dropout, index))(index)
    longest = (mask * jnp.arange(1, length + 1)).max((1, 2))
    everything = _SegmentGroup(latents, embeddings, action, weight, keys, longest)
    if before is not None:
        everything = jax.tree.map(itemgetter(slice(1, None)), everything)
    if all_at_once is None:
        all_at_once = jax.default_backend() != "cpu"
    sum_of = _sum_at_once if all_at_once else partial(_sum_one_by_one, cuts)
    sums = [sum_of(policy, params, token_loss, group) for group in _split(everything, short)]
    losses, logits = zip(*sums, strict=True)
    return sum(losses), Unrolled(_join(logits, length), memories)


def reconstruct_segments(policy: Policy, params: Params, memories: Memory, length: int) -> Any:
    """Logits [S - 1, B, L, classes] of each compressed segment, from the memory it went into."""
    return jax.lax.map(
        lambda memory: apply_method(policy, params, "reconstruct", memory, length),
        jax.tree.map(itemgetter(slice(1, None)), memories),
    )


def _write_all(
    policy: Policy, params: Params, first: Memory, segments: Any, dropout: DropoutKey | None
) -> Memory:
    """The memories before, between and after S - 1 segments, [S, B, ...].

    Segments are embeddings [S - 1, B, L, D], masks [S - 1, B, L] and numbers [S - 1].
    """

    def step(memory: Memory, segment: Any) -> tuple[Memory, Memory]:
        embeddings, mask, index = segment
        _, write_key = dropout_keys(dropout, index)
        args = memory, embeddings, mask
        memory = apply_method(policy, params, "write", *args, dropout=write_key)
        return memory, memory

    # A loop stores all that its gradient needs anew, which costs more than a short one saves.
    is_short = len(segments[0]) <= _FEW_COMPRESSIONS
    _, later = jax.lax.scan(step, first, segments, unroll=is_short)
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, later)


def _split(group: _SegmentGroup, short: int) -> list[_SegmentGroup]:
    """All segments but the last, cut to `short` tokens, and the last; or all in one group."""
    if len(group.weight) == 1 or short == group.weight.shape[-1]:
        return [group]
    early, last = (jax.tree.map(itemgetter(cut), group) for cut in (slice(-1), slice(-1, None)))
    return [_cut(early, short), last]


def _cut(group: _SegmentGroup, length: int) -> _SegmentGroup:
    """The first tokens of all segments of a group, or of one segment without the axis S."""
    return group._replace(
        embeddings=group.embeddings[..., :length, :],
        action=group.action[..., :length],
        weight=group.weight[..., :length],
    )


def _sum_one_by_one(
    cuts: tuple[int, ...],
    policy: Policy,
    params: Params,
    token_loss: TokenLoss,
    group: _SegmentGroup,
) -> tuple[jax.Array, jax.Array]:
    """Loss and logits [S, B, L, A], each segment differentiated as soon as it is decoded."""
    length = group.weight.shape[-1]
    lengths = [*(cut for cut in cuts if cut < length), length]

    def term(cut: int, params: Params, inputs: Any, constants: Any) -> tuple[jax.Array, jax.Array]:
        segment = _cut(_SegmentGroup._make((*inputs, *constants)), cut)
        loss, logits = _loss(policy, params, token_loss, segment)
        return loss, jnp.pad(logits, [(0, 0), (0, length - cut), (0, 0)])

    terms, which = [partial(term, cut) for cut in lengths], None
    if len(terms) > 1:
        assert group.longest is not None
        which = jnp.searchsorted(jnp.array(lengths), group.longest)
    return scan_sum(terms, params, group[:2], group[2:], which)


def _sum_at_once(
    policy: Policy, params: Params, token_loss: TokenLoss, group: _SegmentGroup
) -> tuple[jax.Array, jax.Array]:
    """Loss and logits [S, B, L, A], all segments decoded as one batch."""
    dropout = jax.tree.map(itemgetter(0), group.dropout)
    # Windows first: `Dropout` takes the first axis for the windows of the batch.
    windows_first = segments_first(group._replace(dropout=None, longest=None))
    batch = jax.tree.map(lambda x: jax.lax.collapse(x, 0, 2), windows_first)
    loss, logits = _loss(policy, params, token_loss, batch._replace(dropout=dropout))
    return loss, segments_first(logits.reshape(*windows_first.action.shape, logits.shape[-1]))


def _loss(
    policy: Policy, params: Params, token_loss: TokenLoss, segment: _SegmentGroup
) -> tuple[jax.Array, jax.Array]:
    """Loss and logits [B, L, A] of one segment: the group without its axis S."""
    latents, embeddings, action, weight, dropout, _ = segment
    logits, _ = apply_method(policy, params, "decode", latents, embeddings, dropout=dropout)
    return (token_loss(logits, action) * weight).sum(), jax.lax.stop_gradient(logits)


def _join(logits: Iterable[jax.Array], length: int) -> jax.Array:
    """Logits of groups, [S, B, up to length, A] -> [B, all S, length, A], zeros at the end."""
    padded = [jnp.pad(x, [(0, 0), (0, 0), (0, length - x.shape[2]), (0, 0)]) for x in logits]
    return segments_first(jnp.concatenate(padded))
