"""The project's own functions, prepared so that a call of one can be timed."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.bench_flops import act_flops, train_flops
from benchmarks.bench_measure import Program, compile_program
from compad_jax.backend import sharding
from compad_jax.config import Config, from_dict, to_dict
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks
from compad_jax.evaluation.rollout import init_rollout, make_rollout
from compad_jax.histories.dataset import Dataset, make_datasets
from compad_jax.histories.sampler import make_sampler
from compad_jax.models import init_params, make_policy
from compad_jax.sources import make_source
from compad_jax.training.losses import loss_floor
from compad_jax.training.optimizer import make_optimizer
from compad_jax.training.step import make_init, make_train_steps

_SAMPLED_BATCHES = 16  # Whose mean length stands for that of all.


class Job(NamedTuple):
    """A compiled program, bound to its inputs."""

    call: Callable[[], Any]  # Goes on where the last call stopped.
    program: Program
    items: float  # That a call gets done: supervised tokens, or environment steps.
    useful_flops: float  # Of a call.


def vary(config: Config, **settings: Any) -> Config:
    """A validated copy with other values, named `group__field`.

    Raises:
        ConfigError: an impossible combination.
    """
    values = to_dict(config)
    for name, value in settings.items():
        group, field = name.split("__")
        values[group][field] = value
    return from_dict(values)


def steps_a_call(config: Config, steps: int) -> Config:
    """The same training with so many optimiser steps a dispatch."""
    longer = -(-config.train.train_timesteps // steps) * steps
    return vary(
        config,
        train__log_every=steps,
        train__train_timesteps=longer,
        train__checkpoint_every=steps,
        train__eval_every=steps,
    )


def train_job(config: Config, dataset: Dataset) -> Job:
    """Training steps of a config, `log_every` a call, on given histories.

    Args:
        config: all settings.
        dataset: on every device of the mesh; the time of a step does not depend on what
            the histories say.

    Returns:
        The job; items are supervised tokens.
    """
    mesh = sharding.make_mesh()
    sharding.check_batch_size(config.train.train_batch_size, mesh)
    policy = make_policy(config, make_env(config.env).spec)
    optimizer = make_optimizer(config.optimizer, config.train.train_timesteps)
    sample = make_sampler(config)
    key = jax.random.key(config.train.seed)
    state = [make_init(optimizer, mesh)(init_params(policy, key))]
    steps = make_train_steps(policy, optimizer, sample, config, mesh)
    program = compile_program(steps, state[0], dataset, key)

    def call() -> Any:
        state[0], metrics = program.call(state[0], dataset, key)
        return metrics

    keys = jax.random.split(key, _SAMPLED_BATCHES)
    draw = jax.jit(lambda d: jax.lax.map(lambda k: sample(k, d).mask.sum(-1), keys))
    lengths = np.asarray(draw(dataset))  # [batches, B, S]
    a_step = config.train.log_every / _SAMPLED_BATCHES
    flops = train_flops(policy, lengths.reshape(-1, lengths.shape[-1]))
    return Job(call, program, a_step * float(lengths.sum()), a_step * flops)


def act_job(config: Config, num_environments: int, num_episodes: int) -> Job:
    """In-context rollouts, `num_episodes` episodes of every environment a call.

    Args:
        config: all settings; the policy is untrained, which changes no time.
        num_environments: B, shared by the devices where they can share it evenly.
        num_episodes: a call.

    Returns:
        The job; items are environment steps.
    """
    env, mesh = make_env(config.env), sharding.make_mesh()
    policy = make_policy(config, env.spec)
    params = jax.device_put(init_params(policy, jax.random.key(0)), sharding.replicated(mesh))
    tasks = jnp.resize(env.tasks, (num_environments, *env.tasks.shape[1:]))
    keys = jax.random.split(jax.random.key(config.eval.seed), num_environments)
    greedy = jnp.arange(num_environments) % 2 == 0
    start = jax.jit(lambda params, *rest: init_rollout(policy, params, env, *rest))
    first = start(params, tasks, keys, greedy)
    shardings = sharding.split_leading(first, num_environments, mesh)
    state = [jax.device_put(first, shardings)]
    smoothing = config.optimizer.label_smoothing
    play = make_rollout(
        policy, env, smoothing=smoothing, num_episodes=num_episodes, shardings=shardings
    )
    program = compile_program(play, params, state[0])

    def call() -> Any:
        state[0], returns, _ = program.call(params, state[0])
        return returns

    items = num_environments * num_episodes * env.spec.horizon
    return Job(call, program, items, items * act_flops(policy))


def source_program(config: Config, num_goals: int) -> tuple[Any, tuple[jax.Array, jax.Array]]:
    """The source on the first goals, jitted, and its arguments."""
    env = make_env(config.env)
    keys = jax.random.split(jax.random.key(config.source.seed), num_goals)
    source = jax.jit(jax.vmap(make_source(config.source, env)))
    return source, (keys, jnp.asarray(env.tasks[:num_goals]))


def random_dataset(config: Config) -> Dataset:
    """Made-up histories of the config's training tasks, on every device.

    Shapes and types are the source's; the source need not run.
    """
    env = make_env(config.env)
    learn, (keys, tasks) = source_program(config, len(env.tasks))
    shapes = jax.eval_shape(learn, keys, tasks)
    draw = np.random.default_rng(0)

    def fill(x: jax.ShapeDtypeStruct) -> np.ndarray:
        return draw.integers(2, size=x.shape, dtype=np.uint8).astype(x.dtype)

    uniform = np.full(shapes.log_probs.shape, -np.log(env.spec.num_actions), np.float16)
    history = shapes._replace(transition=jax.tree.map(fill, shapes.transition), log_probs=uniform)
    part = {"train": split_tasks(len(env.tasks), config.env).train}
    floor_fn = partial(loss_floor, smoothing=config.optimizer.label_smoothing)
    dataset = make_datasets(history, part, floor_fn)["train"]
    return jax.device_put(dataset, sharding.replicated(sharding.make_mesh()))
