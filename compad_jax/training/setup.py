"""All that a training needs before its first step: programs compiled, histories loaded."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.backend import processes
from compad_jax.backend.provenance import describe_versions
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config import Config
from compad_jax.envs import make_env
from compad_jax.envs.split import tasks_of
from compad_jax.histories.collection import has_lengths
from compad_jax.histories.dataset import Dataset, dataset_shapes
from compad_jax.histories.sampler import Sampler, make_sampler
from compad_jax.models import Params, Policy, init_params, make_policy
from compad_jax.training.data import TrainingData, load_data
from compad_jax.training.made_of import MadeOf
from compad_jax.training.optimizer import make_optimizer
from compad_jax.training.restore import MakePolicy
from compad_jax.training.step import TrainState, make_init, make_train_steps

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
    data: TrainingData
    keys: Keys
    made_of: MadeOf


def set_up(
    config: Config, mesh: jax.sharding.Mesh, builders: Builders, stopwatch: Stopwatch
) -> TrainingSetup:
    """Collects the histories, where there are none yet, while the training step compiles.

    The stopwatch measures both, as collect and compile.
    """
    env, keys = make_env(config.env), make_keys(config)
    policy, sample = builders.make_policy(config, env.spec), builders.make_sampler(config)
    num_tasks = len(tasks_of(env, config.env, "train")[0])
    lengths = has_lengths(config)
    dataset = dataset_shapes(config, env.spec, num_tasks, mesh, has_lengths=lengths)
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
        if processes.count() > 1:  # All of them must start all programs in one order.
            compiled.result()
        with stopwatch.phase("collect"):
            data = load_data(config, mesh, keys.steps)
        state, train_steps = compiled.result()
    made_of = MadeOf(data.store_hash, mesh.size, describe_versions())
    return TrainingSetup(policy, sample, init, state, train_steps, data, keys, made_of)


def make_keys(config: Config) -> Keys:
    """Draws the keys from `train.seed`."""
    words = np.random.SeedSequence(config.train.seed).generate_state(6).reshape(3, 2)
    wrap: Any = partial(jax.random.wrap_key_data, impl="threefry2x32")
    return Keys(*(wrap(jnp.asarray(pair)) for pair in words))
