"""The training step: one pure function, jitted once, several steps a dispatch."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from compad_jax.backend import sharding
from compad_jax.backend.process import quick_compile_options
from compad_jax.config import Config, ModelConfig
from compad_jax.histories.dataset import Dataset
from compad_jax.histories.sampler import Sampler
from compad_jax.models import Params, Policy
from compad_jax.training.metrics import Metrics, average
from compad_jax.training.objective import loss_fn
from compad_jax.training.optimizer import make_schedule
from compad_jax.training.parts import WHOLE, Parts, plan_parts
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


def make_gradient(
    policy: Policy, smoothing: float, has_dropout: bool, mesh: Mesh, parts: Parts = WHOLE
) -> Callable[[Params, Segments, jax.Array], tuple[Params, Metrics]]:
    """Builds (params, segments [B, S, L], key) -> (gradient, metrics), over the mesh.

    Each device differentiates its own share of the loss and the shares are added once at
    the end. Left to the partitioner, every segment of the backward scan would wait for
    the other devices. All devices have the same key: `loss_fn` tells `Dropout` where in the
    batch their windows stand.
    """

    def share(params: Params, segments: Segments, key: jax.Array) -> tuple[Params, Metrics]:
        params = jax.lax.pcast(params, "data", to="varying")
        dropout_key = key if has_dropout else None
        gradient, metrics = jax.grad(loss_fn, has_aux=True)(
            params, policy, segments, smoothing, dropout_key, "data", parts
        )
        return jax.lax.psum((gradient, metrics), "data")

    everywhere, split = PartitionSpec(), PartitionSpec("data")
    return jax.shard_map(
        share, mesh=mesh, in_specs=(everywhere, split, everywhere), out_specs=everywhere
    )


def uses_dropout(config: ModelConfig) -> bool:
    """Whether a training step draws dropout masks."""
    return config.tf_dropout > 0 or config.tf_attn_dropout > 0


def step_keys(key: jax.Array, step: jax.Array, has_dropout: bool) -> tuple[jax.Array, jax.Array]:
    """PRNG keys of one step: of its windows and, if there is any, of its dropout."""
    sample_key = dropout_key = jax.random.fold_in(key, step)
    if has_dropout:
        sample_key, dropout_key = jax.random.split(sample_key)
    return sample_key, dropout_key


def make_train_steps(
    policy: Policy,
    optimizer: optax.GradientTransformation,
    sample: Sampler,
    config: Config,
    mesh: Mesh,
) -> jax.stages.Wrapped:
    """Builds the jitted function that takes `log_every` steps; the mesh's devices share batches.

    Returns:
        Function (state, dataset, key) -> (state, metrics averaged by `metrics.average`). With
        `data.streamed` the dataset has the rows of all windows, leading axes [log_every, B]. The
        state is donated. All randomness of step n comes from fold_in(key, n): a resumed
        run needs no saved key and repeats the uninterrupted one.

    Raises:
        ConfigError: see `plan_parts`.
    """
    schedule = make_schedule(config.optimizer, config.train.train_timesteps)
    has_dropout = uses_dropout(config.model)
    smoothing, parts = config.optimizer.label_smoothing, plan_parts(config, mesh)
    gradient_of = make_gradient(policy, smoothing, has_dropout, mesh, parts)
    everywhere = sharding.replicated(mesh)

    def draw(key: jax.Array, dataset: Dataset) -> Segments:
        if config.data.streamed:  # A row a window, on the device of the window.
            rows = jnp.arange(config.train.train_batch_size)
            segments, where = sample(key, dataset, rows=rows), sharding.split_batch(mesh)
        else:  # Every device finds all places: sharing them out would send them around again.
            segments, where = sample(key, dataset), everywhere
        return jax.lax.with_sharding_constraint(segments, where)

    def one_step(
        state: TrainState, dataset: Dataset, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        sample_key, dropout_key = step_keys(key, state.step, has_dropout)
        segments = draw(sample_key, dataset)
        gradient, metrics = gradient_of(state.params, segments, dropout_key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        extra = {"grad_norm": optax.tree.norm(gradient), "lr": schedule(state.step)}
        return TrainState(state.step + 1, params, opt_state), metrics._asdict() | extra

    def train_steps(
        state: TrainState, dataset: Dataset, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        def step(
            state: TrainState, rows: Dataset | None
        ) -> tuple[TrainState, dict[str, jax.Array]]:
            return one_step(state, dataset if rows is None else rows, key)

        rows = dataset if config.data.streamed else None
        state, metrics = jax.lax.scan(step, state, rows, length=config.train.log_every)
        return state, average(metrics)

    return jax.jit(train_steps, donate_argnums=0, out_shardings=everywhere)


def make_measure(
    policy: Policy, smoothing: float, num_parts: int = 1
) -> Callable[[Params, Segments], dict[str, jax.Array]]:
    """Builds the jitted function (params, segments [batches, B, S, L]) -> averaged metrics."""

    def measure(params: Params, segments: Segments) -> dict[str, jax.Array]:
        def of_batch(segments: Segments) -> Metrics:
            return loss_fn(params, policy, segments, smoothing, parts=Parts(num_parts))[1]

        return average(jax.lax.map(of_batch, segments)._asdict())

    return jax.jit(measure)
