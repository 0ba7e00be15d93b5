"""Cuts windows of histories into segments, on the device, inside the jitted step."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from compad_jax.config import Config
from compad_jax.histories.dataset import Dataset
from compad_jax.types import Segments, Tokens

Sampler = Callable[..., Segments]  # (key, dataset) -> [B, S, L], as `sample_segments`.


class SegmentPlan(NamedTuple):
    """Bounds on the lengths of a window's segments; all static."""

    min_lengths: tuple[int, ...]  # S
    max_lengths: tuple[int, ...]  # S
    whole_history: bool


def plan_segments(config: Config) -> SegmentPlan:
    """Lays out a window.

    A window has `max_compression_depth` segments to compress and a last one that stays
    uncompressed, so that every sample trains every depth once. AD has nothing to
    compress: its segments are windows of their own. With `whole_history` there are as many
    segments as a history can need; those past its end are empty.
    """
    data = config.data
    compress = (data.min_compress_length, data.max_compress_length)
    last = (data.min_uncompressed_length, data.max_uncompressed_length)
    if not config.model.remembers:
        compress = last
    if data.whole_history:
        bounds = [compress] * math.ceil(config.source.num_steps / compress[0])
    else:
        depth = data.max_compression_depth if config.model.remembers else 0
        bounds = [compress] * depth + [last]
    lows, highs = zip(*bounds, strict=True)
    return SegmentPlan(lows, highs, data.whole_history)


def make_sampler(config: Config) -> Sampler:
    """The function that draws the batches of the settings."""
    size = config.train.train_batch_size
    return partial(sample_segments, plan=plan_segments(config), batch_size=size)


def draw_rows(
    key: jax.Array, num_rows: jax.Array, plan: SegmentPlan, *, batch_size: int
) -> jax.Array:
    """The rows, int [B], whose windows `sample_segments` draws by the same key."""
    return _below(_uniform(key, plan, batch_size)[:, 0], num_rows)


def _uniform(key: jax.Array, plan: SegmentPlan, batch_size: int) -> jax.Array:
    """2 + S numbers in [0, 1) for each window, that of its row first.

    All at once: a generator compiles to hundreds of instructions, every time.
    """
    return jax.random.uniform(key, (batch_size, 2 + len(plan.max_lengths)))


def sample_segments(
    key: jax.Array,
    dataset: Dataset,
    plan: SegmentPlan,
    *,
    batch_size: int,
    rows: jax.Array | None = None,
) -> Segments:
    """Draws a batch of windows, uniformly over histories and over the steps of each: [B, S, L].

    A window may be drawn up to half its length beyond either end and is then moved inside.
    Otherwise the ends would hardly be trained: the first step of a history, where acting
    begins, stands in one of its windows only. Of a history that is shorter than the window, the
    window has all steps, and the rest is masked. L is the longest length in the plan.

    `rows` of the dataset, int [B], are given where `draw_rows` drew from a larger one. The key is
    consumed.
    """
    uniform = _uniform(key, plan, batch_size)
    rows = _below(uniform[:, 0], dataset.num_rows) if rows is None else rows
    return jax.vmap(lambda row, u: _sample_window(row, u, dataset, plan))(rows, uniform)


def _sample_window(
    row: jax.Array, uniform: jax.Array, dataset: Dataset, plan: SegmentPlan
) -> Segments:
    """One window of one history, [S, L], by 2 + S numbers in [0, 1)."""
    num_steps = _num_steps(dataset, row)
    low, high = jnp.array(plan.min_lengths), jnp.array(plan.max_lengths)
    lengths, start = low, jnp.zeros((), jnp.int32)
    # What can only be one number is not drawn: the compiler would not know that it is one.
    if plan.min_lengths != plan.max_lengths:
        lengths += _below(uniform[2:], high - low + 1)
    if not plan.whole_history:
        last_start, beyond = num_steps - lengths.sum(), lengths.sum() // 2
        if dataset.length is not None:  # A history may be shorter than the window.
            last_start = jnp.maximum(last_start, 0)
        start = _below(uniform[1], last_start + 1 + 2 * beyond) - beyond
        start = jnp.clip(start, 0, last_start)
    return cut_segments(dataset, row, start, lengths, max_length=max(plan.max_lengths))


def _num_steps(dataset: Dataset, row: jax.Array) -> Any:
    """Steps of a history: an int where all have equally many, so that masks are constants."""
    if dataset.length is None:
        return dataset.transition.action.shape[1]
    return dataset.length[row]


def _below(uniform: jax.Array, size: jax.Array | int) -> jax.Array:
    """Numbers in [0, 1) as integers in [0, size); rounding up must not reach `size`."""
    return jnp.minimum(jnp.floor(uniform * size).astype(jnp.int32), size - 1)


def cut_segments(
    dataset: Dataset, row: jax.Array, start: jax.Array, lengths: jax.Array, *, max_length: int
) -> Segments:
    """Cuts consecutive segments [S, L] out of one history.

    Args:
        dataset: the histories.
        row: int [], which history.
        start: int [], first step.
        lengths: int [S], of the segments; what lies beyond the history's end is masked.
        max_length: L, of the padded segments.
    """
    chex.assert_rank([row, start, lengths], [0, 0, 1])
    num_steps = _num_steps(dataset, row)
    first = start + jnp.cumsum(lengths) - lengths
    offset = jnp.arange(max_length)
    step = first[:, None] + offset
    mask = (offset < lengths[:, None]) & (step < num_steps)
    now = jnp.clip(step, 0, num_steps - 1)
    is_first = now == 0

    def before(x: jax.Array) -> jax.Array:
        """The entries one step earlier; zeros where there are none."""
        none = is_first.reshape(*is_first.shape, *[1] * (x.ndim - 2))
        return jnp.where(none, jnp.zeros((), x.dtype), x[row, jnp.maximum(now - 1, 0)])

    previous = jax.tree.map(before, dataset.transition)
    tokens = Tokens(previous=previous, is_first=is_first, obs=dataset.transition.obs[row, now])
    action = dataset.target[row, now]
    is_target = mask & dataset.is_target[row, now]
    return Segments(tokens, action, mask, is_target, dataset.floor[row, now])
