"""All that a training needs before its first step: programs compiled, histories loaded."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.backend.provenance import describe_versions
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config import Config
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks, tasks_of
from compad_jax.histories.collection import load_histories, load_histories_and_hash
from compad_jax.histories.dataset import Dataset, dataset_shapes, make_datasets
from compad_jax.histories.sampler import Sampler, make_sampler
from compad_jax.models import Params, Policy, init_params, make_policy
from compad_jax.training.losses import loss_floor
from compad_jax.training.made_of import MadeOf
from compad_jax.training.optimizer import make_optimizer
from compad_jax.training.restore import MakePolicy
from compad_jax.training.step import TrainState, make_init, make_train_steps
from compad_jax.types import History

TrainSteps = Callable[[TrainState, Dataset, jax.Array], tuple[TrainState, dict[str, jax.Array]]]


class Builders(NamedTuple):
    """Functions that build the policy and the sampler; an experiment may pass its own."""

    make_policy: MakePolicy = make_policy
    make_sampler: Callable[[Config], Sampler] = make_sampler


class Keys(NamedTuple):
    """Independent PRNG keys of a training."""

    params: jax.Array  # Of the first parameters.
    steps: jax.Array
    validation: jax.Array  # Of the batches that losses are measured on.


class TrainingSetup(NamedTuple):
    """What training needs and a restored checkpoint does not change."""

    policy: Policy
    sample: Sampler
    init: Callable[[Params], TrainState]
    first_state: TrainState  # Before any training.
    train_steps: TrainSteps  # Compiled.
    datasets: dict[str, Dataset]  # See `load_datasets`.
    keys: Keys
    made_of: MadeOf


def set_up(
    config: Config, mesh: jax.sharding.Mesh, builders: Builders, stopwatch: Stopwatch
) -> TrainingSetup:
    """Collects the histories, where there are none yet, while the training step compiles.

    Args:
        config: all settings.
        mesh: the devices.
        builders: how the policy and the sampler are made.
        stopwatch: measures collect and compile.

    Returns:
        Programs, first state and datasets.
    """
    env, keys = make_env(config.env), make_keys(config)
    policy, sample = builders.make_policy(config, env.spec), builders.make_sampler(config)
    num_tasks = len(tasks_of(env, config.env, "train")[0])
    dataset = dataset_shapes(config, env.spec, num_tasks, mesh)
    optimizer = make_optimizer(config.optimizer, config.train.train_timesteps)
    init = make_init(optimizer, mesh)
    steps = make_train_steps(policy, optimizer, sample, config, mesh)

    @stopwatch.phase("compile")
    def compile_steps() -> tuple[TrainState, TrainSteps]:
        state = init(init_params(policy, keys.params))
        return state, steps.lower(state, dataset, keys.steps).compile()

    # The main thread collects: that may take minutes, and only there can Ctrl-C stop it.
    with ThreadPoolExecutor(1) as pool:
        compiled = pool.submit(compile_steps)
        with stopwatch.phase("collect"):
            history, store_hash = load_histories_and_hash(config)
            datasets = _share_out(history, config, mesh)
        state, train_steps = compiled.result()
    made_of = MadeOf(store_hash, mesh.size, describe_versions())
    return TrainingSetup(policy, sample, init, state, train_steps, datasets, keys, made_of)


def make_keys(config: Config) -> Keys:
    """Draws the keys from `train.seed`."""
    words = np.random.SeedSequence(config.train.seed).generate_state(6).reshape(3, 2)
    wrap: Any = partial(jax.random.wrap_key_data, impl="threefry2x32")
    return Keys(*(wrap(jnp.asarray(pair)) for pair in words))


def load_datasets(config: Config, mesh: jax.sharding.Mesh) -> dict[str, Dataset]:
    """The histories of each part of the split, shared out over the devices.

    Args:
        config: all settings.
        mesh: the devices.

    Returns:
        Datasets train, validation and held_out; they share no task. Only `train` is
        learned from, only `validation` chooses a checkpoint; `held_out` is reported.
    """
    return _share_out(load_histories(config), config, mesh)


def _share_out(history: History, config: Config, mesh: jax.sharding.Mesh) -> dict[str, Dataset]:
    """The histories of each part of the split, on the devices."""
    split = split_tasks(history.transition.action.shape[0], config.env)
    floor_fn = partial(loss_floor, smoothing=config.optimizer.label_smoothing)
    return make_datasets(history, split._asdict(), floor_fn, mesh)
