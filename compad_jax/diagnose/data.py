"""What the histories allow, and what a sampler makes of them: known before any training."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import Config
from compad_jax.envs import make_env
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.split import choose_tasks
from compad_jax.envs.tabular import optimal_returns
from compad_jax.evaluation.statistics import fractions, source_returns
from compad_jax.histories.dataset import Dataset
from compad_jax.histories.sampler import Sampler
from compad_jax.training.losses import loss_floor
from compad_jax.types import History, Segments

Facts = dict[str, Any]  # Numbers as JSON has them; None: not known or not measured.

MAX_WINDOWS = 64  # Of a batch; more would cost time and show nothing new.
_NUM_TENTHS = 10


class Draws(NamedTuple):
    """Batches of windows as a sampler draws them, with quantities of their tokens."""

    segments: Segments  # [N, B, S, L], N batches.
    values: dict[str, jax.Array]  # float [N, B, S, L] each.


def draw_windows(
    sample: Sampler,
    dataset: Dataset,
    quantities: Mapping[str, jax.Array],
    key: jax.Array,
    *,
    num_batches: int,
) -> Draws:
    """Draws N batches, and from the same places any quantities of the steps, float [rows, T].

    A sampler gathers `dataset.floor` at its tokens. With the same key and a quantity in
    the place of the floor, it gathers that quantity at the same tokens. The key is consumed. At
    most `MAX_WINDOWS` windows of each batch are returned.
    """
    chex.assert_equal_shape([dataset.floor, *quantities.values()])

    def draw(key: jax.Array, dataset: Dataset, quantities: dict[str, jax.Array]) -> Draws:
        values = {
            name: sample(key, dataset._replace(floor=quantity)).floor
            for name, quantity in quantities.items()
        }
        return jax.tree.map(lambda x: x[:MAX_WINDOWS], Draws(sample(key, dataset), values))

    keys = jax.random.split(key, num_batches)
    batches = jax.jit(lambda keys, *args: jax.lax.map(lambda k: draw(k, *args), keys))
    return batches(keys, dataset, dict(quantities))


def step_quantities(history: History, tasks: np.ndarray) -> dict[str, jax.Array]:
    """What is known of every step of some tasks, int [.], beside its transition.

    Returns:
        Float32 [rows, T], rows as in `make_datasets`: `step` and `task`, their indices;
        `entropy` of the source's policy, in nats; `best_accuracy`, the probability of its
        likeliest action. The last two are NaN where log-probabilities are not known.
    """
    num_streams, num_steps = history.transition.action.shape[1:]
    shape = (len(tasks) * num_streams, num_steps)
    entropy = best_accuracy = jnp.full(shape, jnp.nan)
    if history.log_probs is not None:
        describe = jax.jit(lambda x: (loss_floor(x, 0.0), jnp.exp(x.max(-1).astype(jnp.float32))))
        # A task at a time: all at once in float32 would be several times the store.
        by_task = [describe(history.log_probs[task]) for task in tasks]
        entropy, best_accuracy = (jnp.concatenate(x) for x in zip(*by_task, strict=True))
    step = jnp.broadcast_to(jnp.arange(num_steps, dtype=jnp.float32), shape)
    task = jnp.repeat(jnp.asarray(tasks, jnp.float32), num_streams)[:, None]
    task = jnp.broadcast_to(task, shape)
    return {"step": step, "task": task, "entropy": entropy, "best_accuracy": best_accuracy}


def describe_source(
    config: Config, history: History, tasks: np.ndarray, entropy: jax.Array
) -> Facts:
    """How the source learns in some of the G tasks, int [.], by histories [G, R, T].

    Returns:
        Its return by episode, also as a share of the optimum where that is known and not 0;
        and by step the entropy of its policy, given as float [rows, T], in nats.
    """
    env = make_env(config.env)
    chosen = choose_tasks(env.num_tasks, config.env.num_tasks)
    optimum = optimal_returns(env, make_tasks(env, chosen[tasks]))
    steps = history.transition
    curve = source_returns(np.asarray(steps.reward[tasks]), np.asarray(steps.done[tasks])).curve
    shares = fractions(curve, optimum)
    return {
        "name": config.source.name,
        "returns": as_list(curve.mean((1, 2))),
        "fraction_of_optimum": None if shares is None else as_list(shares.mean((1, 2))),
        "entropy": known(as_list(entropy.mean(0))),
    }


def describe_sampling(draws: Draws, num_steps: int, *, has_memory: bool) -> Facts:
    """Where the tokens of training windows come from and what stands before them.

    Without memory, a segment knows nothing of the segments before it.

    Returns:
        Positions as parts of a history of `num_steps`, and shares of tokens or of windows;
        `informative` is the share of the tokens that are targets.
    """
    mask = contexts(draws.segments.mask, has_memory=has_memory)  # [windows, S, L]
    reward = contexts(draws.segments.tokens.previous.reward, has_memory=has_memory)
    step = contexts(draws.values["step"], has_memory=has_memory)[mask]
    tenths = np.bincount((step * _NUM_TENTHS // num_steps).astype(int), minlength=_NUM_TENTHS)
    seen = np.logical_or.accumulate(((reward != 0) & mask).reshape(len(mask), -1), axis=1)
    real = mask.any((1, 2))
    lengths, counts = np.unique(mask.sum(-1)[mask.any(-1)], return_counts=True)
    return {
        "num_windows": int(real.sum()),
        "num_targets": int(mask.sum()),
        "informative": float(np.asarray(draws.segments.is_target).sum() / mask.sum()),
        "first_target": float(step.min()) / num_steps,
        "last_target": (float(step.max()) + 1) / num_steps,
        "targets_by_tenth": as_list(tenths / len(step)),
        "targets_by_depth": as_list(mask.sum((0, 2)) / mask.sum()),
        "segment_lengths": {
            str(n): round(float(c / counts.sum()), 5) for n, c in zip(lengths, counts, strict=True)
        },
        "windows_without_reward": float(1 - seen[real, -1].mean()),
        "targets_after_reward": float(seen[mask.reshape(len(mask), -1)].mean()),
        "padding": float(1 - mask.mean()),
    }


def describe_loss(draws: Draws, dataset: Dataset, num_actions: int, *, has_memory: bool) -> Facts:
    """What any model can reach at best on the targets of windows drawn from the dataset.

    Returns:
        Losses in nats, and an accuracy; all but `uniform` None where no floor is known.
    """
    target = targets_of(draws.segments)
    floor = contexts(draws.segments.floor, has_memory=has_memory)
    by_segment = contexts(target, has_memory=has_memory)
    all_targets = np.asarray(dataset.is_target if dataset.is_target.any() else True)
    return {
        "uniform": math.log(num_actions),
        "floor": mean_of(floor, by_segment),
        "floor_by_depth": group_means(floor, by_segment, axis=(0, 2)),
        "floor_by_position": group_means(floor, by_segment, axis=(0, 1)),
        "floor_of_whole_histories": mean_of(dataset.floor, all_targets),
        "entropy": mean_of(draws.values["entropy"], target),
        "best_accuracy": mean_of(draws.values["best_accuracy"], target),
    }


def targets_of(segments: Segments) -> np.ndarray:
    """Bool [..., S, L], the targets; every real token where the source is always random."""
    return np.asarray(segments.is_target if segments.is_target.any() else segments.mask)


def contexts(x: jax.Array | np.ndarray, *, has_memory: bool) -> np.ndarray:
    """What can be known together, [N, B, S, L] -> [N * B, S, L]; AD: [N * B * S, 1, L]."""
    num_segments, length = x.shape[-2:] if has_memory else (1, x.shape[-1])
    return np.asarray(x).reshape(-1, num_segments, length)


def mean_of(x: Any, mask: np.ndarray) -> float | None:
    """Mean over the true entries; None where they are NaN, not known."""
    return known(float(np.asarray(x).mean(where=mask)))


def group_means(x: np.ndarray, mask: np.ndarray, axis: tuple[int, ...]) -> list[float | None]:
    """Means over the true entries along some axes; None where there is none or none is known."""
    count = mask.sum(axis)
    means = np.where(mask, x, 0).sum(axis) / np.maximum(count, 1)
    return [known(round(float(m), 5)) if c else None for m, c in zip(means, count, strict=True)]


def known(x: Any) -> Any:
    """A number, or a list of them; None in place of NaN."""
    return None if np.isnan(x).any() else x


def as_list(x: Any) -> list[float]:
    """A vector as JSON has it, to five decimals."""
    return [round(value, 5) for value in np.asarray(x, float).tolist()]
