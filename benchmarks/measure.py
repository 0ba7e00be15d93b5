"""Times with their spread, and the products of matrices in a program."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from compad_jax.models import Params, Policy, unroll
from compad_jax.models.policy import apply_method
from compad_jax.types import Segments

Facts = dict[str, Any]  # A part of the results file.


class Spread(NamedTuple):
    """A quantity that was measured several times."""

    median: float
    low: float  # First quartile.
    high: float  # Third quartile.


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return Spread(float(median), float(low), float(high))


def rate(amount: float, seconds: Spread) -> Spread:
    """Amount per second; the slow quartile of the time is the low one of the rate."""
    return Spread(amount / seconds.median, amount / seconds.high, amount / seconds.low)


def share(part: Spread, whole: Spread) -> Spread:
    """Part over whole; their relative deviations are taken as independent."""
    median = part.median / whole.median
    below = math.hypot(1 - part.low / part.median, whole.high / whole.median - 1)
    above = math.hypot(part.high / part.median - 1, 1 - whole.low / whole.median)
    return Spread(median, median * max(0.0, 1 - below), median * (1 + above))


def time_calls(call: Callable[[], Any], repeats: int, *, warm_up: bool = True) -> list[float]:
    """Seconds of each call until its results are there, after one that does not count."""
    if warm_up:
        jax.block_until_ready(call())
    gc.collect()  # Not while the clock runs.
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds


def forward_flops(
    policy: Policy, params: Params, segments: Segments, lengths: Sequence[int]
) -> float:
    """Useful operations of a policy that reads one window: its plain forward pass, unpadded.

    They are counted on the plain `models.unroll`, whatever program is timed, so that a program
    cannot improve its share of a ceiling by doing more.

    Args:
        policy: the policy.
        params: its parameters.
        segments: arrays or shapes [B, S, L, ...] of any batch.
        lengths: tokens of each segment; all but the last are compressed.

    Returns:
        Operations of matrix products.
    """

    def decode(params: Params, window: Segments) -> jax.Array:
        memory = apply_method(policy, params, "initial_memory", 1)
        embeddings = apply_method(policy, params, "embed", window.tokens)
        latents = apply_method(policy, params, "read", memory)
        return apply_method(policy, params, "decode", latents, embeddings[:, 0])[0]

    def decode_and_compress(params: Params, window: Segments) -> jax.Array:
        return unroll(policy, params, window).logits

    def flops(function: Callable[..., jax.Array], length: int) -> float:
        window = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((1, 1, length, *x.shape[3:]), x.dtype), segments
        )
        return product_flops(jax.jit(function).trace(params, window).jaxpr.jaxpr)

    early = {length: flops(decode_and_compress, length) for length in set(lengths[:-1])}
    return sum(early[length] for length in lengths[:-1]) + flops(decode, lengths[-1])


def product_flops(jaxpr: Any) -> float:
    """Operations of the matrix products of a traced program: 2 m k n for [m, k] x [k, n].

    Args:
        jaxpr: of one device where it has a `shard_map`.

    Returns:
        The sum. Every pass of a `scan` counts, and the dearest branch of a `cond`; the body of
        a `while`, whose number of passes is unknown, counts once.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        parts = [product_flops(inner) for inner in _inner(equation)]
        if name == "dot_general":
            total += _dot_flops(equation)
        elif name == "cond":
            total += max(parts)
        else:
            total += sum(parts) * (equation.params["length"] if name == "scan" else 1)
    return total


def _dot_flops(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, out = equation.invars[0].aval, equation.outvars[0].aval
    return 2.0 * math.prod(out.shape) * math.prod(left.shape[axis] for axis in contracted)


def _inner(equation: Any) -> Iterator[Any]:
    """The jaxprs inside an equation."""
    for value in equation.params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
