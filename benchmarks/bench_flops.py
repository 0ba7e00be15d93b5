"""Floating-point operations of matrix products: useful ones, executed ones, XLA's count.

*Useful* is what the policy must compute for real tokens and latents, by formula.
*Executed* is what a traced program multiplies, padding and recomputation included, every
pass of a loop counted. XLA's own count takes the body of a loop once, however often it
runs; `Counts` holds both of it, so that the two can be checked against each other.
A product of [m, k] and [k, n] counts 2 m k n; everything that is not a product counts 0,
except in XLA's count.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from compad_jax.config import ModelConfig
from compad_jax.envs.protocol import EnvSpec
from compad_jax.models import Policy
from compad_jax.models.tokens import num_features

_BACKWARD = 2  # A product's two gradients cost one product each.


class Counts(NamedTuple):
    """Operations of one call of a program, all devices together."""

    executed: float  # Products of the traced program, loops in full.
    loops_once: float  # The same with the body of every loop once, to compare with `xla`.
    xla: float  # XLA's count of the compiled program: loop bodies once, all arithmetic.


def count(traced: Any, compiled: Any, num_devices: int) -> Counts:
    """Counts the operations of a program.

    Args:
        traced: what `jax.jit(...).trace` returned.
        compiled: the same program, compiled.
        num_devices: that it runs on.

    Returns:
        The counts. A program with a `shard_map` does everything outside it on every
        device; the work of any other is split by the compiler.
    """
    jaxpr = traced.jaxpr.jaxpr
    copies = num_devices if _has_shard_map(jaxpr) else 1
    analysis = compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    return Counts(
        executed=copies * product_flops(jaxpr),
        loops_once=copies * product_flops(jaxpr, loops_once=True),
        xla=num_devices * float((analysis or {}).get("flops", math.nan)),
    )


def product_flops(jaxpr: Any, *, loops_once: bool = False) -> float:
    """Operations of the matrix products of a jaxpr.

    Args:
        jaxpr: of one device where it has a `shard_map`.
        loops_once: count the body of a `scan` once instead of `length` times.

    Returns:
        The sum. Of the branches of a `cond` the dearest counts; the body of a `while`,
        whose number of passes is unknown, counts once.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _dot_flops(equation)
            continue
        parts = [product_flops(inner, loops_once=loops_once) for inner in _inner(equation)]
        if equation.primitive.name == "cond":
            total += max(parts)
        elif equation.primitive.name == "scan" and not loops_once:
            total += equation.params["length"] * sum(parts)
        else:
            total += sum(parts)
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


def _has_shard_map(jaxpr: Any) -> bool:
    return any(
        equation.primitive.name == "shard_map" or any(map(_has_shard_map, _inner(equation)))
        for equation in jaxpr.eqns
    )


def train_flops(policy: Policy, lengths: np.ndarray) -> float:
    """Useful operations of the gradient of a batch: forward, and twice that backward.

    Args:
        policy: the policy; a reconstruction loss does not count.
        lengths: int [..., S], real tokens of each segment; a segment is compressed only if
            a later one has a token.

    Returns:
        The sum over all windows.
    """
    model, spec = policy.config, policy.spec
    later = np.cumsum(lengths[..., ::-1], -1)[..., ::-1] - lengths
    compressed = np.where(later > 0, compress_flops(model, lengths), 0.0)
    forward = (
        embed_flops(model, spec, lengths).sum()
        + compressed.sum()
        + np.where(lengths > 0, decode_flops(model, spec, lengths), 0.0).sum()
    )
    return float((1 + _BACKWARD) * forward)


def act_flops(policy: Policy) -> float:
    """Useful operations of one environment step, the mean over a cycle of compressions.

    A cycle compresses `compress_length` tokens, puts the new latents and the kept tokens
    into the cache, and reads as many tokens one by one.
    """
    model, spec = policy.config, policy.spec
    cycle, kept = policy.compress_length, policy.window - policy.compress_length
    keys = model.n_latent + kept + np.arange(cycle) + 1
    read = model.tf_n_layer * (_dense(model) + _attention(model, keys)) + _head(model, spec)
    opened = _stack(model, kept, read=0)
    compressed = compress_flops(model, np.array(cycle))
    token = embed_flops(model, spec, np.array(1))
    return float(token + read.mean() + (compressed + opened) / cycle)


def cache_bytes(policy: Policy) -> float:
    """Bytes of keys and values that one environment step attends to, the mean over a cycle."""
    model = policy.config
    keys = model.n_latent + policy.window - (policy.compress_length - 1) / 2
    return 2 * model.tf_n_layer * keys * model.tf_n_embd * np.dtype(policy.dtype).itemsize


def embed_flops(model: ModelConfig, spec: EnvSpec, tokens: np.ndarray) -> np.ndarray:
    """Operations of embedding so many tokens."""
    return 2.0 * num_features(spec) * model.tf_n_embd * tokens


def compress_flops(model: ModelConfig, tokens: np.ndarray) -> np.ndarray:
    """Operations of one compression of so many tokens; 0 for AD."""
    latents, width = model.n_latent, model.tf_n_embd
    if not latents:
        return np.zeros(np.shape(tokens))
    project = 2.0 * width * 2 * width * tokens
    layer = project + latents * (_dense(model) + _attention(model, latents + tokens))
    outputs = {"multiplicative": width, "gru": 3 * width, "slot_gate": 1}  # Of the gates.
    gates = 2.0 * 2 * width * outputs.get(model.memory_update, 0) * latents
    return model.encoder_n_layer * layer + gates


def decode_flops(model: ModelConfig, spec: EnvSpec, tokens: np.ndarray) -> np.ndarray:
    """Operations of decoding a segment of so many tokens with its latents."""
    return _stack(model, tokens, read=tokens) + _head(model, spec) * tokens


def _stack(model: ModelConfig, tokens: Any, *, read: Any) -> Any:
    """Decoder layers over latents and tokens; of the last layer only `read` outputs count.

    Nobody reads the latents' outputs of the last layer: it owes them keys and values only.
    """
    latents = model.n_latent
    positions, before_last = latents + tokens, model.tf_n_layer - 1
    token_pairs = tokens * latents + tokens * (tokens + 1) / 2
    whole = positions * _dense(model) + _attention(model, latents**2 + token_pairs)
    keys_values = 2.0 * model.tf_n_embd * 2 * model.tf_n_embd
    last = (positions - read) * keys_values + read * _dense(model)
    return before_last * whole + last + _attention(model, token_pairs) * (np.asarray(read) > 0)


def _dense(model: ModelConfig) -> float:
    """Products of a layer with weights, a position: query, key, value, output, feed-forward."""
    width = model.tf_n_embd
    return 2.0 * width * (3 * width + width + 2 * model.tf_dim_feedforward)


def _attention(model: ModelConfig, pairs: Any) -> Any:
    """Scores and mixing of so many pairs of query and key."""
    return 4.0 * model.tf_n_embd * pairs


def _head(model: ModelConfig, spec: EnvSpec) -> float:
    return 2.0 * model.tf_n_embd * spec.num_actions
