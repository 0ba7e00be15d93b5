"""How a device works off its share of a batch: a few windows at a time, those alike together."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from compad_jax.config import Config
from compad_jax.config.checks import require
from compad_jax.histories.sampler import SegmentPlan, plan_segments

_CPU_POSITIONS = 800  # Latents and tokens of one segment of all windows of a part.
_CUT_STEP, _MOST_CUTS = 8, 10  # Lengths that segments are cut to: tokens between them, at least.


class Parts(NamedTuple):
    """Parts of equal size of the windows of a device."""

    number: int = 1
    # How the windows of one device are sorted into parts: by the length of a segment into so many
    # groups, each of them by that of another one, and so on: (segment, groups).
    sorting: tuple[tuple[int, int], ...] = ()
    cuts: tuple[int, ...] = ()  # Lengths that the segments of a part may be cut to.


WHOLE = Parts()


def plan_parts(config: Config, mesh: Mesh) -> Parts:
    """Parts that each device works off its share of a batch in, by `train.micro_batch_size`.

    Raises:
        ConfigError: they would not be equal.
    """
    train, plan = config.train, plan_segments(config)
    share = train.train_batch_size // mesh.size
    size = min(train.micro_batch_size or _quick_part(config, plan, share), share)
    require(
        share % size == 0,
        f"train.micro_batch_size={size}: must divide the {share} windows that each of "
        f"{mesh.size} devices has of train.train_batch_size={train.train_batch_size}",
    )
    number = share // size
    # An accelerator decodes all segments at once, and cuts none.
    if number == 1 or jax.default_backend() != "cpu":
        return Parts(number)
    return Parts(number, tuple(_sorting(plan, number)), tuple(_cuts(plan)))


def _quick_part(config: Config, plan: SegmentPlan, share: int) -> int:
    """How many of a device's windows are worked on at once: what is fastest.

    An accelerator takes all. On a CPU the activations of a large batch do not stay in the cache;
    those of `_CPU_POSITIONS` do, and their products are not yet thin.
    """
    if jax.default_backend() != "cpu":
        return share
    positions = config.model.n_latent + max(plan.max_lengths)
    fitting = _CPU_POSITIONS / positions
    divisors = (size for size in range(1, share + 1) if share % size == 0)
    return min(divisors, key=lambda size: abs(math.log(size / fitting)))


def _sorting(plan: SegmentPlan, num_parts: int) -> Iterator[tuple[int, int]]:
    """The segment whose lengths in a part differ most is split next, until no group is left."""
    lows, highs = plan.min_lengths, plan.max_lengths
    spreads = [float(high - low) for low, high in zip(lows, highs, strict=True)]
    factor = 2
    while num_parts > 1 and max(spreads) > 0:
        if num_parts % factor:
            factor += 1
            continue
        widest = spreads.index(max(spreads))
        yield widest, factor
        spreads[widest] /= factor
        num_parts //= factor


def _cuts(plan: SegmentPlan) -> range:
    """From the shortest length to the longest, where lengths differ; each is compiled apart."""
    if plan.min_lengths == plan.max_lengths:
        return range(0)
    shortest, longest = min(plan.min_lengths), max(plan.max_lengths)
    step = _round_up(max(1, math.ceil((longest - shortest) / _MOST_CUTS)), _CUT_STEP)
    return range(_round_up(shortest, step), longest, step)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def split_into_parts(windows: Any, lengths: jax.Array, parts: Parts) -> Any:
    """Arrays of all windows, [B, ...], as arrays of each part, [parts, windows, ...].

    `lengths` are those of the windows' segments, int [B, S], by which they may be sorted.
    If they are not sorted, a part has windows of every device that holds any.
    """

    def interleave(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(len(x) // parts.number, parts.number, *x.shape[1:]), 0, 1)

    if not parts.sorting:
        return jax.tree.map(interleave, windows)
    chosen = _sort(lengths, parts)
    return jax.tree.map(lambda x: x[chosen], windows)


def _sort(lengths: jax.Array, parts: Parts) -> jax.Array:
    """Which windows each part has, int [parts, windows]: such as are alike."""
    groups = jnp.arange(len(lengths))[None]
    for segment, count in parts.sorting:
        order = jnp.argsort(lengths[groups, segment], axis=1)
        groups = jnp.take_along_axis(groups, order, axis=1)
        groups = groups.reshape(len(groups) * count, -1)
    return groups
