"""The loss of a batch, and what is measured with it.

A batch that is too large is worked off in parts, a few windows at a time; a long window in pieces,
a few segments at a time. Both leave the result as it is, and where a gradient is asked for, each
part and each piece is differentiated before the next begins (`scan_sum`). So memory is that of
one piece of one part, beside the tokens.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from compad_jax.backend.scan_sum import scan_sum, scan_sum_with_carry
from compad_jax.models import (
    Before,
    DropoutKey,
    Params,
    Policy,
    reconstruct_segments,
    reconstruction_loss,
    unroll_loss,
)
from compad_jax.training.losses import count_true, smoothed_cross_entropy
from compad_jax.training.metrics import Metrics
from compad_jax.training.parts import WHOLE, Parts, split_into_parts
from compad_jax.types import Segments


class _Counts(NamedTuple):
    """What means are taken over: numbers of the whole batch on all devices, float []."""

    targets: jax.Array
    reconstructed: jax.Array


def loss_fn(
    params: Params,
    policy: Policy,
    segments: Segments,
    smoothing: float,
    key: jax.Array | None = None,
    axis_name: str | None = None,
    parts: Parts = WHOLE,
) -> tuple[jax.Array, Metrics]:
    """Smoothed cross entropy of every target of a batch, plus any reconstruction loss.

    Gradients are cut after every `model.bptt_depth` compressions, as `models.unroll` defines it.

    Args:
        params: parameters of the policy.
        policy: the policy.
        segments: [B, S, L].
        smoothing: of the labels.
        key: PRNG key of the dropout, consumed; None: no dropout.
        axis_name: mesh axis that splits the batch; all results are then shares, which add
            up over the devices.
        parts: what the windows are worked off in, one part after another.

    Returns:
        The loss, float [], and the metrics.
    """
    is_target = segments.is_target
    count = partial(count_true, axis_name=axis_name)
    counts = _Counts(count(is_target), count(_is_reconstructed(segments)))
    window = jnp.arange(len(is_target))
    if axis_name is not None:
        window += jax.lax.axis_index(axis_name) * len(window)

    def part_loss(params: Params, _: Any, part: Any) -> tuple[jax.Array, Metrics]:
        segments, window = part
        dropout = None if key is None else DropoutKey(key, window)
        return _windows_loss(params, policy, segments, smoothing, counts, dropout, parts.cuts)

    if parts.number == 1:
        loss, metrics = part_loss(params, None, (segments, window))
    else:
        each_part = split_into_parts((segments, window), segments.mask.sum(-1), parts)
        loss, each = scan_sum(part_loss, params, None, each_part)
        metrics = jax.tree.map(lambda x: x.sum(0), each)
    return loss, metrics._replace(depth_nll=metrics.depth_nll / count(is_target, axis=(0, 2)))


def _windows_loss(
    params: Params,
    policy: Policy,
    segments: Segments,
    smoothing: float,
    counts: _Counts,
    dropout: DropoutKey | None,
    cuts: tuple[int, ...],
) -> tuple[jax.Array, Metrics]:
    """Loss and metrics of some windows; `depth_nll` is a sum.

    A piece is `bptt_depth` compressions and the segments that are decoded after them: it begins
    with the last segment of the piece before, which was decoded there and is compressed here.
    Only the first piece may be shorter, and decodes its first segment, too.
    """
    piece_loss = partial(
        _piece_loss, policy=policy, smoothing=smoothing, counts=counts, dropout=dropout, cuts=cuts
    )
    num_segments, depth = segments.mask.shape[1], policy.config.bptt_depth
    rest = (num_segments - 1) % depth if depth else num_segments - 1
    size = 1 + (rest or min(depth, num_segments - 1))  # Of the first piece, in segments.
    first = _slice(segments, 0, size)
    loss, (metrics, memory) = piece_loss(params, first)
    if size == num_segments:
        return loss, metrics

    def next_loss(params: Params, _: Any, piece: Any, carry: Any) -> Any:
        (memory, last), (number, new) = carry, piece
        both = jax.tree.map(lambda x, y: jnp.concatenate([x, y], axis=1), last, new)
        loss, (metrics, memory) = piece_loss(params, both, before=Before(memory, number))
        return loss, (metrics, (memory, _slice(new, depth - 1, depth)))

    pieces = _cut(_slice(segments, size, num_segments), depth)
    number = size - 1 + depth * jnp.arange(len(pieces.mask))
    carry = memory, _slice(first, size - 1, size)
    others_loss, others = scan_sum_with_carry(next_loss, params, None, (number, pieces), carry)
    return loss + others_loss, jax.tree.map(_join, metrics, others)


def _slice(segments: Segments, start: int, stop: int) -> Segments:
    """Segments [B, stop - start, L] of windows."""
    return jax.tree.map(lambda x: x[:, start:stop], segments)


def _cut(segments: Segments, size: int) -> Segments:
    """[B, S, L] -> [S / size, B, size, L]."""

    def cut(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(len(x), -1, size, *x.shape[2:]), 0, 1)

    return jax.tree.map(cut, segments)


def _join(first: jax.Array, others: jax.Array) -> jax.Array:
    """A metric of windows, from those of their first pieces and of the others, [pieces, ...]."""
    return jnp.concatenate([first, others.ravel()]) if first.ndim else first + others.sum()


def _piece_loss(
    params: Params,
    segments: Segments,
    before: Before | None = None,
    *,
    policy: Policy,
    smoothing: float,
    counts: _Counts,
    dropout: DropoutKey | None,
    cuts: tuple[int, ...],
) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """Loss, metrics and last memory of windows [B, S, L], or of pieces of them."""
    token_loss = partial(smoothed_cross_entropy, smoothing=smoothing)
    loss, (logits, memories) = unroll_loss(
        policy,
        params,
        segments,
        token_loss,
        segments.is_target / counts.targets,
        dropout=dropout,
        before=before,
        cuts=cuts,
    )
    reconstruction = _reconstruction(params, policy, segments, memories, counts)
    decoded = segments if before is None else _slice(segments, 1, segments.mask.shape[1])
    weight = decoded.is_target / counts.targets
    nll = smoothed_cross_entropy(logits, decoded.action, 0.0)
    metrics = Metrics(
        loss=loss,
        floor=(decoded.floor * weight).sum(),
        nll=(nll * weight).sum(),
        accuracy=((logits.argmax(-1) == decoded.action) * weight).sum(),
        num_tokens=decoded.mask.sum().astype(jnp.float32),
        depth_nll=(nll * decoded.is_target).sum((0, 2)),
        depth_tokens=decoded.is_target.sum((0, 2)).astype(jnp.float32),
        reconstruction=reconstruction,
    )
    loss += policy.config.reconstruction_weight * reconstruction
    return loss, (metrics, jax.tree.map(lambda x: x[-1], memories))


def _reconstruction(
    params: Params, policy: Policy, segments: Segments, memories: Any, counts: _Counts
) -> jax.Array:
    """Mean loss of reading the compressed transitions back from the latents; 0 if unused."""
    if not policy.config.reconstruction_weight or segments.mask.shape[1] == 1:
        return jnp.zeros(())
    logits = reconstruct_segments(policy, params, memories, segments.mask.shape[-1])
    seen, mask = jax.tree.map(
        lambda x: jnp.swapaxes(x, 0, 1),
        (_slice(segments, 0, -1).tokens.previous, _is_reconstructed(segments)),
    )
    return (reconstruction_loss(logits, seen, policy.spec) * mask / counts.reconstructed).sum()


def _is_reconstructed(segments: Segments) -> jax.Array:
    """Which tokens show a transition that is compressed, bool [B, S - 1, L]."""
    return (segments.mask & ~segments.tokens.is_first)[:, :-1]
