"""What a trained policy makes of histories: losses by position, its memory, its gradients."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from compad_jax.diagnose.data import Draws, Facts, contexts, group_means, mean_of, targets_of
from compad_jax.models import Params, Policy, unroll
from compad_jax.training.losses import smoothed_cross_entropy
from compad_jax.training.objective import loss_fn
from compad_jax.types import Segments

Measure = Callable[[Params, Segments], dict[str, jax.Array]]  # See `token_losses`.

_MAX_POSITIONS = 200_000  # That a policy reads: seconds on a CPU.
_PARTS = ("embedding", "memory", "reconstructor")  # All other parameters are the decoder's.


def describe_policy(measure: Measure, params: Params, draws: Draws, *, has_memory: bool) -> Facts:
    """Losses by where a target stands, and what the memory adds.

    Of the draws as many batches are used as can be read in seconds. `measure` is `token_losses` of
    the policy, jitted.

    Returns:
        Smoothed losses and their floors in nats, by number of compressions before the
        target and by its position in the segment; `memory` as in `_describe_memory`.
    """
    num_batches = max(1, _MAX_POSITIONS // draws.segments.mask[0].size)
    draws = jax.tree.map(lambda x: x[:num_batches], draws)
    # A batch at a time: their activations together may not fit.
    losses = [
        jax.device_get(measure(params, jax.tree.map(lambda x, i=i: x[i], draws.segments)))
        for i in range(len(draws.segments.mask))
    ]
    values = {name: np.stack([batch[name] for batch in losses]) for name in losses[0]}
    groups = partial(contexts, has_memory=has_memory)
    target = targets_of(draws.segments)
    mask, loss, floor = map(groups, (target, values["loss"], np.asarray(draws.segments.floor)))
    return {
        "num_targets": int(mask.sum()),
        "loss": float(loss[mask].mean()),
        "floor": mean_of(floor, mask),
        "accuracy": float(groups(values["correct"])[mask].mean()),
        "by_depth": _both(loss, floor, mask, (0, 2)),
        "by_position": _both(loss, floor, mask, (0, 1)),
        "memory": _describe_memory(values, draws) if has_memory else None,
    }


def token_losses(
    policy: Policy, params: Params, segments: Segments, *, smoothing: float
) -> dict[str, jax.Array]:
    """Smoothed loss of every target, with the memory as it is and with another in its place.

    Returns:
        Float32 [B, S, L]: `loss` in nats; `correct`, 1 where the likeliest action was taken;
        with a memory, the losses `zeroed` (all its numbers zero) and `swapped` (those of the
        window before in the batch).
    """
    logits, memories = unroll(policy, params, segments)
    loss = partial(smoothed_cross_entropy, action=segments.action, smoothing=smoothing)
    correct = (logits.argmax(-1) == segments.action).astype(jnp.float32)
    losses = {"loss": loss(logits), "correct": correct}
    if policy.config.remembers:
        decode = partial(_decode, policy, params, segments)
        losses["zeroed"] = loss(decode(jax.tree.map(jnp.zeros_like, memories)))
        losses["swapped"] = loss(decode(jax.tree.map(lambda x: jnp.roll(x, 1, axis=1), memories)))
    return losses


def gradient_norms(
    policy: Policy, params: Params, segments: Segments, smoothing: float
) -> dict[str, float]:
    """Global norms of the gradients of `embedding`, `decoder` and whatever else the policy has.

    Segments are a training batch, [B, S, L].
    """

    def norms(params: Params) -> dict[str, jax.Array]:
        gradient, _ = jax.grad(loss_fn, has_aux=True)(params, policy, segments, smoothing)
        parts: dict[str, list[Params]] = {}
        for name, value in gradient.items():
            parts.setdefault(name if name in _PARTS else "decoder", []).append(value)
        return {name: optax.tree.norm(part) for name, part in parts.items()}

    return {name: float(norm) for name, norm in jax.jit(norms)(params).items()}


def _decode(policy: Policy, params: Params, segments: Segments, memories: Any) -> jax.Array:
    """Logits [B, S, L, A] of segments [B, S, L] with given memories [S, B, ...]."""
    apply = partial(policy.apply, {"params": params})

    def decode(memory_and_embeddings: tuple[Any, jax.Array]) -> jax.Array:
        memory, embeddings = memory_and_embeddings
        return apply(apply(memory, method="read"), embeddings, method="decode")[0]

    tokens = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), segments.tokens)
    logits = jax.lax.map(decode, (memories, apply(tokens, method="embed")))
    return jnp.swapaxes(logits, 0, 1)


def _describe_memory(values: dict[str, np.ndarray], draws: Draws) -> Facts | None:
    """Losses with and without the memory, where there is one; None if there is nowhere.

    Counted are targets behind a compression whose neighbour in the batch is of another
    task: another history of the same task may tell the same.
    """
    mask, real = targets_of(draws.segments), draws.segments.mask
    task = np.where(real, draws.values["task"], -1).max((2, 3), keepdims=True)  # Of a window.
    mask = mask & (task != np.roll(task, 1, axis=1))
    mask[:, :, 0] = False
    if not mask.any():
        return None
    names = {"as_is": "loss", "zeroed": "zeroed", "of_another_task": "swapped"}
    losses = {name: float(values[key][mask].mean()) for name, key in names.items()}
    return losses | {"num_targets": int(mask.sum())}


def _both(loss: np.ndarray, floor: np.ndarray, mask: np.ndarray, axis: tuple[int, ...]) -> Facts:
    return {"loss": group_means(loss, mask, axis), "floor": group_means(floor, mask, axis)}
