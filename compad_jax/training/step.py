"""The training step: one pure function, jitted once, several steps a dispatch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from compad_jax.backend import sharding
from compad_jax.backend.process import quick_compile_options
from compad_jax.config import Config
from compad_jax.histories.dataset import Dataset
from compad_jax.histories.sampler import Sampler
from compad_jax.models import (
    Params,
    Policy,
    reconstruct_segments,
    reconstruction_loss,
    unroll_loss,
)
from compad_jax.training.losses import masked_mean, mean_weights, smoothed_cross_entropy
from compad_jax.training.metrics import Metrics, average
from compad_jax.training.optimizer import make_schedule
from compad_jax.types import Segments


class TrainState(NamedTuple):
    """All that a step changes."""

    step: jax.Array  # int []
    params: Params
    opt_state: optax.OptState


def make_init(
    optimizer: optax.GradientTransformation, mesh: Mesh
) -> Callable[[Params], TrainState]:
    """Builds the jitted function from a policy's parameters to the state before any step."""

    def init(params: Params) -> TrainState:
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    options = quick_compile_options()
    return jax.jit(init, out_shardings=sharding.replicated(mesh), compiler_options=options)


def loss_fn(
    params: Params,
    policy: Policy,
    segments: Segments,
    smoothing: float,
    key: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, Metrics]:
    """Smoothed cross entropy of every target of a batch, plus any reconstruction loss.

    Args:
        params: parameters of the policy.
        policy: the policy.
        segments: [B, S, L].
        smoothing: of the labels.
        key: PRNG key of the dropout, consumed; None: no dropout.
        axis_name: mesh axis that splits the batch; all results are then shares, which add
            up over the devices.

    Returns:
        The loss, float [], and the metrics.
    """
    mask, action = segments.is_target, segments.action
    weights = mean_weights(mask, axis_name=axis_name)
    token_loss = partial(smoothed_cross_entropy, smoothing=smoothing)
    loss, (logits, memories) = unroll_loss(policy, params, segments, token_loss, weights, key=key)
    mean = partial(masked_mean, axis_name=axis_name)
    nll = smoothed_cross_entropy(logits, action, 0.0)
    metrics = Metrics(
        loss=loss,
        floor=mean(segments.floor, mask),
        nll=mean(nll, mask),
        accuracy=mean((logits.argmax(-1) == action).astype(jnp.float32), mask),
        num_tokens=segments.mask.sum().astype(jnp.float32),
        depth_nll=mean(nll, mask, axis=(0, 2)),
        depth_tokens=mask.sum((0, 2)).astype(jnp.float32),
        reconstruction=_reconstruction(params, policy, segments, memories, mean),
    )
    return loss + policy.config.reconstruction_weight * metrics.reconstruction, metrics


def _reconstruction(
    params: Params,
    policy: Policy,
    segments: Segments,
    memories: Any,
    mean: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """Mean loss of reading the compressed transitions back from the latents; 0 if unused."""
    if not policy.config.reconstruction_weight or segments.mask.shape[1] == 1:
        return jnp.zeros(())
    logits = reconstruct_segments(policy, params, memories, segments.mask.shape[-1])
    seen, mask, is_first = jax.tree.map(
        lambda x: jnp.swapaxes(x[:, :-1], 0, 1),
        (segments.tokens.previous, segments.mask, segments.tokens.is_first),
    )
    return mean(reconstruction_loss(logits, seen, policy.spec), mask & ~is_first)


def make_gradient(
    policy: Policy, smoothing: float, has_dropout: bool, mesh: Mesh
) -> Callable[[Params, Segments, jax.Array], tuple[Params, Metrics]]:
    """Builds (params, segments [B, S, L], key) -> (gradient, metrics), over the mesh.

    Each device differentiates its own share of the loss and the shares are added once at
    the end. Left to the partitioner, every segment of the backward scan would wait for
    the other devices. All devices have the same key: `Dropout` knows where in the batch
    their windows stand.
    """

    def share(params: Params, segments: Segments, key: jax.Array) -> tuple[Params, Metrics]:
        params = jax.lax.pcast(params, "data", to="varying")
        gradient, metrics = jax.grad(loss_fn, has_aux=True)(
            params, policy, segments, smoothing, key if has_dropout else None, "data"
        )
        return jax.lax.psum((gradient, metrics), "data")

    everywhere, split = PartitionSpec(), PartitionSpec("data")
    return jax.shard_map(
        share, mesh=mesh, in_specs=(everywhere, split, everywhere), out_specs=everywhere
    )


def make_train_steps(
    policy: Policy,
    optimizer: optax.GradientTransformation,
    sample: Sampler,
    config: Config,
    mesh: Mesh,
) -> jax.stages.Wrapped:
    """Builds the jitted function that takes `log_every` optimiser steps.

    Args:
        policy: the policy.
        optimizer: the gradient transformation.
        sample: draws a batch inside the step.
        config: all settings.
        mesh: the devices; batches are split over them.

    Returns:
        Function (state, dataset, key) -> (state, metrics averaged by `metrics.average`). The
        state is donated. All randomness of step n comes from fold_in(key, n): a resumed
        run needs no saved key and repeats the uninterrupted one.
    """
    schedule = make_schedule(config.optimizer, config.train.train_timesteps)
    has_dropout = config.model.tf_dropout > 0 or config.model.tf_attn_dropout > 0
    gradient_of = make_gradient(policy, config.optimizer.label_smoothing, has_dropout, mesh)
    everywhere = sharding.replicated(mesh)

    def one_step(
        state: TrainState, dataset: Dataset, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        sample_key = dropout_key = jax.random.fold_in(key, state.step)
        if has_dropout:
            sample_key, dropout_key = jax.random.split(sample_key)
        # Every device finds all places itself: sharing them out would send them around again.
        segments = jax.lax.with_sharding_constraint(sample(sample_key, dataset), everywhere)
        gradient, metrics = gradient_of(state.params, segments, dropout_key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        extra = {"grad_norm": optax.tree.norm(gradient), "lr": schedule(state.step)}
        return TrainState(state.step + 1, params, opt_state), metrics._asdict() | extra

    def train_steps(
        state: TrainState, dataset: Dataset, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        def step(state: TrainState, _: None) -> tuple[TrainState, dict[str, jax.Array]]:
            return one_step(state, dataset, key)

        state, metrics = jax.lax.scan(step, state, length=config.train.log_every)
        return state, average(metrics)

    return jax.jit(train_steps, donate_argnums=0, out_shardings=everywhere)


def make_measure(
    policy: Policy, smoothing: float
) -> Callable[[Params, Segments], dict[str, jax.Array]]:
    """Builds the jitted function (params, segments [batches, B, S, L]) -> averaged metrics."""

    def measure(params: Params, segments: Segments) -> dict[str, jax.Array]:
        metrics = jax.lax.map(lambda s: loss_fn(params, policy, s, smoothing)[1], segments)
        return average(metrics._asdict())

    return jax.jit(measure)
