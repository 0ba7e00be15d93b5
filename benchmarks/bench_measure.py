"""Measuring: times with their spread, compilation apart, memory."""

import gc
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.bench_flops import Counts, count

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
    """Seconds of each call until its results are there, after one that is not counted."""
    if warm_up:
        jax.block_until_ready(call())
    gc.collect()  # Not while the clock runs.
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds


class Program(NamedTuple):
    """A compiled function and what is known of it before it runs."""

    call: Any
    compile_seconds: float  # Tracing included.
    counts: Counts
    num_bytes: int  # Arguments, results and temporary buffers of one device.


def compile_program(function: Any, *args: Any) -> Program:
    """Compiles a jitted function for some arguments."""
    start = time.perf_counter()
    traced = function.trace(*args)
    compiled = traced.lower().compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    num_bytes = sum(getattr(memory, name, 0) for name in sizes)
    num_bytes -= getattr(memory, "alias_size_in_bytes", 0)  # Donated: counted twice above.
    return Program(compiled, seconds, count(traced, compiled, jax.device_count()), num_bytes)


def say(text: str) -> None:
    """Shows how far a benchmark of minutes has come, beside its results."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def peak_memory() -> dict[str, int]:
    """Most bytes ever used, by this process and, where the backend tells, by a device."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    used = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    return peak | ({"device": max(used)} if used else {})


def memory_in_use() -> int:
    """Bytes in use now: of the first device where the backend tells, else of the process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_in_use" in stats:
        return stats["bytes_in_use"]
    try:
        with open("/proc/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return peak_memory()["process"]
