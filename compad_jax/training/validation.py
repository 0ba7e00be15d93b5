"""What is measured while training goes on, and which checkpoint is the best."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from compad_jax.backend import sharding
from compad_jax.backend.process import quick_compile_options
from compad_jax.config import Config
from compad_jax.envs import make_env
from compad_jax.envs.split import tasks_of
from compad_jax.envs.tabular import optimal_returns
from compad_jax.evaluation.episodes import SELECTIONS, make_episodes
from compad_jax.evaluation.statistics import mean_fraction
from compad_jax.histories.dataset import Dataset
from compad_jax.histories.sampler import Sampler
from compad_jax.models import Params, Policy
from compad_jax.training.parts import plan_parts
from compad_jax.training.step import make_measure
from compad_jax.types import Segments

Metrics = dict[str, Any]
RETURNS = tuple(f"validation_return_{name}" for name in SELECTIONS)  # Shares of the optimum.
PLAIN_RETURNS = tuple(f"validation_mean_return_{name}" for name in SELECTIONS)


def make_validation(
    config: Config,
    policy: Policy,
    sample: Sampler,
    datasets: dict[str, Dataset],
    key: jax.Array,
) -> Callable[[Params], Metrics]:
    """Builds the function that measures a policy on tasks that it is not trained on.

    The batches that losses are measured on are drawn once; the key is consumed.

    Returns:
        Function params -> metrics: `validation_loss`, `held_out_accuracy` and so on; and,
        where `train.validation_episodes` is set, the mean return of these in-context
        episodes on the validation tasks as a fraction of the optimum,
        `validation_return_greedy` and `_sample`; where no optimum is known, as it is,
        `validation_mean_return_greedy` and `_sample`.
    """
    num_parts = plan_parts(config, sharding.make_mesh()).number
    measure = make_measure(policy, config.optimizer.label_smoothing, num_parts)
    batches = _draw_batches(config, sample, datasets, key)
    play = _make_play(config, policy) if config.train.validation_episodes else None

    def validate(params: Params) -> Metrics:
        metrics: Metrics = {
            f"{name}_{metric}": value
            for name, segments in batches.items()
            for metric, value in jax.tree.map(sharding.fetch, measure(params, segments)).items()
        }
        return metrics | (play(params) if play else {})

    return validate


def score(metrics: Metrics) -> float:
    """How good a checkpoint is, by validation tasks alone; the highest is the best.

    The loss says how well the source is imitated on the source's own histories. It hardly
    tells apart checkpoints whose returns differ several times over, because acting makes
    other histories than the source's. So the return decides where it was measured, of
    whichever way to act is the better one. NaN where nothing was measured.
    """
    measured = {name: x for name, x in metrics.items() if x is not None and np.all(np.isfinite(x))}
    returns = [measured[name] for name in (*RETURNS, *PLAIN_RETURNS) if name in measured]
    return float(max(returns)) if returns else -float(measured.get("validation_loss", np.nan))


def _draw_batches(
    config: Config, sample: Sampler, datasets: dict[str, Dataset], key: jax.Array
) -> dict[str, Segments]:
    """Fixed batches [batches, B, S, L] of histories that are not trained on, split over devices.

    Both parts are cut down, or repeated, to equally many histories: one program draws both.
    """
    keys = jax.random.split(key, config.train.eval_batches)
    split = NamedSharding(sharding.make_mesh(), PartitionSpec(None, "data"))
    draw = jax.jit(
        lambda dataset: jax.lax.map(lambda k: sample(k, dataset), keys),
        out_shardings=split,
        compiler_options=quick_compile_options(),
    )
    num_rows = config.train.eval_batches * config.train.train_batch_size

    def spaced(dataset: Dataset) -> Dataset:
        rows = np.linspace(0, dataset.num_rows - 1, num_rows).round().astype(int)
        whole = dataset._replace(num_rows=dataset.task)  # So that all have rows.
        whole = jax.tree.map(lambda x: sharding.fetch_rows(x, rows), whole)
        return whole._replace(num_rows=jnp.int32(num_rows))

    return {name: draw(spaced(datasets[name])) for name in ("validation", "held_out")}


def _make_play(config: Config, policy: Policy) -> Callable[[Params], Metrics]:
    """Plays the validation tasks."""
    env = make_env(config.env)
    _, tasks = tasks_of(env, config.env, "validation")
    optimum = optimal_returns(env, tasks)
    play_all = make_episodes(config, policy, env, tasks, config.train.validation_episodes)

    def play(params: Params) -> Metrics:
        returns = play_all(params).returns
        shares = [mean_fraction(x, optimum) for x in returns]
        if None in shares:
            return {name: float(x.mean()) for name, x in zip(PLAIN_RETURNS, returns, strict=True)}
        return dict(zip(RETURNS, shares, strict=True))

    return play
