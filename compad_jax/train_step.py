"""The training step: one pure function, jitted once, several steps a dispatch."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from compad_jax import sharding
from compad_jax.config import Config
from compad_jax.data.sampler import Dataset
from compad_jax.losses import masked_mean, smoothed_cross_entropy
from compad_jax.models import Params, Policy, init_params, unroll
from compad_jax.optimizer import make_schedule
from compad_jax.types import Segments

Sampler = Callable[[jax.Array, Dataset], Segments]  # (key, dataset) -> [B, S, L]


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array  # int []
    params: Params
    opt_state: optax.OptState


class Metrics(NamedTuple):
    """Of one batch, or the mean of many; over real tokens."""

    loss: jax.Array  # float [], smoothed cross entropy, in nats.
    floor: jax.Array  # float [], what `loss` cannot fall below on these targets.
    nll: jax.Array  # float [], plain cross entropy, in nats.
    accuracy: jax.Array  # float [], share of actions predicted exactly.
    num_tokens: jax.Array  # float []
    depth_nll: jax.Array  # float [S], by number of compressions before the token.
    depth_tokens: jax.Array  # float [S]


def init_train_state(
    policy: Policy, optimizer: optax.GradientTransformation, key: jax.Array, mesh: Mesh
) -> TrainState:
    """Draws the first state, made in place on every device of the mesh."""

    def init(key: jax.Array) -> TrainState:
        params = init_params(policy, key)
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    return jax.jit(init, out_shardings=sharding.replicated(mesh))(key)


def loss_fn(
    params: Params, policy: Policy, segments: Segments, smoothing: float, key: jax.Array | None
) -> tuple[jax.Array, Metrics]:
    """Smoothed cross entropy of every real token of a batch.

    Args:
        params: parameters of the policy.
        policy: the policy.
        segments: [B, S, L].
        smoothing: of the labels.
        key: PRNG key of the dropout, consumed; None: no dropout.

    Returns:
        The loss, float [], and the metrics.
    """
    logits = unroll(policy, params, segments, key=key)
    mask, action = segments.mask, segments.action
    loss = masked_mean(smoothed_cross_entropy(logits, action, smoothing), mask)
    nll = smoothed_cross_entropy(logits, action, 0.0)
    metrics = Metrics(
        loss=loss,
        floor=masked_mean(segments.floor, mask),
        nll=masked_mean(nll, mask),
        accuracy=masked_mean((logits.argmax(-1) == action).astype(jnp.float32), mask),
        num_tokens=mask.sum().astype(jnp.float32),
        depth_nll=masked_mean(nll, mask, axis=(0, 2)),
        depth_tokens=mask.sum((0, 2)).astype(jnp.float32),
    )
    return loss, metrics


def make_train_steps(
    policy: Policy,
    optimizer: optax.GradientTransformation,
    sample: Sampler,
    config: Config,
    mesh: Mesh,
) -> Callable[[TrainState, Dataset, jax.Array], tuple[TrainState, dict[str, jax.Array]]]:
    """Builds the jitted function that takes `log_every` optimiser steps.

    Args:
        policy: the policy.
        optimizer: the gradient transformation.
        sample: draws a batch inside the step.
        config: all settings.
        mesh: the devices; batches are split over them.

    Returns:
        Function (state, dataset, key) -> (state, metrics averaged over the steps). The
        state is donated. All randomness of step n comes from fold_in(key, n): a resumed
        run needs no saved key and repeats the uninterrupted one.
    """
    schedule = make_schedule(config.optimizer, config.train.train_timesteps)
    has_dropout = config.model.tf_dropout > 0 or config.model.tf_attn_dropout > 0

    def one_step(
        state: TrainState, dataset: Dataset, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        sample_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        segments = jax.lax.with_sharding_constraint(
            sample(sample_key, dataset), sharding.split_batch(mesh)
        )
        gradients, metrics = jax.grad(loss_fn, has_aux=True)(
            state.params,
            policy,
            segments,
            config.optimizer.label_smoothing,
            dropout_key if has_dropout else None,
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        extra = {"grad_norm": optax.global_norm(gradients), "lr": schedule(state.step)}
        return TrainState(state.step + 1, params, opt_state), metrics._asdict() | extra

    def many_steps(
        state: TrainState, dataset: Dataset, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        state, metrics = jax.lax.scan(
            lambda state, _: one_step(state, dataset, key), state, length=config.train.log_every
        )
        return state, jax.tree.map(lambda x: x.mean(0), metrics)

    return jax.jit(many_steps, donate_argnums=0, out_shardings=sharding.replicated(mesh))


def make_measure(
    policy: Policy, smoothing: float
) -> Callable[[Params, Segments], dict[str, jax.Array]]:
    """Builds the jitted function (params, segments [batches, B, S, L]) -> mean metrics."""

    def measure(params: Params, segments: Segments) -> dict[str, jax.Array]:
        metrics = jax.lax.map(lambda s: loss_fn(params, policy, s, smoothing, None)[1], segments)
        return jax.tree.map(lambda x: x.mean(0), metrics._asdict())

    return jax.jit(measure)
