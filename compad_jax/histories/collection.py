"""Sources x tasks x seeds -> a store of learning histories."""

import hashlib
import os
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from compad_jax.backend import sharding
from compad_jax.config import Config
from compad_jax.config.checks import ConfigError
from compad_jax.envs import make_env
from compad_jax.envs.split import choose_tasks
from compad_jax.histories.store import (
    ADVICE,
    Origin,
    exclusive,
    read_store,
    store_directory,
    store_settings,
    write_store,
)
from compad_jax.histories.validate import find_mistake
from compad_jax.sources import make_source
from compad_jax.types import History

_STEPS_A_CALL = 4_000_000  # Environment steps of one jitted call: bounds its memory.


def load_histories(config: Config) -> History:
    """Reads the histories of every task, collecting them first if there is no store.

    Args:
        config: `env`, `source` and `data.dir`.

    Returns:
        NumPy arrays [G, R, T].

    Raises:
        ConfigError: the store is damaged, was made by other settings or other code, or holds
            what cannot be in histories of this environment.
    """
    learn, num_tasks = make_learner(config)
    origin = Origin(store_settings(config), program_hash(learn))
    directory = store_directory(config, origin)
    if not os.path.exists(directory):
        with exclusive(directory):
            if not os.path.exists(directory):  # Or another process made it meanwhile.
                _make_store(config, directory, origin)
    history = read_store(directory, origin)
    shape = (num_tasks, config.source.num_streams, config.source.num_steps)
    mistake = find_mistake(history, make_env(config.env).spec, shape)
    if mistake:
        raise ConfigError(f"{directory}/{mistake}; {ADVICE}")
    return history


def _make_store(config: Config, directory: str, origin: Origin) -> None:
    start = time.monotonic()
    history = collect(config)
    write_store(directory, history, origin)
    steps, seconds = history.transition.action.size, time.monotonic() - start
    print(f"collected {steps:,} steps of {config.source.name} in {seconds:.1f} s: {directory}")


def make_learner(config: Config) -> tuple[Callable[[jax.Array], History], int]:
    """Builds the function that lets the source learn one task.

    Args:
        config: `env` and `source`.

    Returns:
        Pure function row (int []) -> History [R, T], log-probabilities in float16; and the
        number of rows, G.
    """
    env = make_env(config.env)
    source = make_source(config.source, env)
    chosen = choose_tasks(env.num_tasks, config.env.num_tasks)

    def learn(row: jax.Array) -> History:
        # The generator is named: JAX_DEFAULT_PRNG_IMPL must not decide what is learned.
        key = jax.random.key(config.source.seed, impl="threefry2x32")
        task = env.task(jnp.asarray(chosen, jnp.int32)[row])
        history = source(jax.random.split(key, len(chosen))[row], task)
        if history.log_probs is None:
            return history
        return history._replace(log_probs=history.log_probs.astype(jnp.float16))

    return learn, len(chosen)


def program_hash(learn: Callable[[jax.Array], History]) -> str:
    """Identifies the code of an environment and a source by what it compiles to.

    Nobody has to remember to change a version: whatever changes the histories, a setting of
    JAX included, changes the program. Comments and names do not, nor do the devices.

    Args:
        learn: of `make_learner`.

    Returns:
        Hexadecimal digits.
    """
    traced = jax.jit(learn).trace(jax.ShapeDtypeStruct((), jnp.int32))
    text = traced.lower(lowering_platforms=("cpu",)).as_text()  # StableHLO, constants included.
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def collect(config: Config) -> History:
    """Lets the source learn every task.

    Histories of held-out tasks are collected too, as the reference curve of evaluations;
    the tasks are split only when a dataset is made of them.

    Args:
        config: `env` and `source`.

    Returns:
        NumPy arrays [G, R, T]; log-probabilities in float16.
    """
    mesh, split = sharding.make_mesh(), PartitionSpec("data")
    learn, num_tasks = make_learner(config)
    # Whole tasks are split, so that no device waits for another. Nothing crosses devices, so
    # there is nothing to check of what varies over them.
    share = jax.shard_map(
        jax.vmap(learn), mesh=mesh, in_specs=split, out_specs=split, check_vma=False
    )
    share = jax.jit(share)
    num_calls = -(-num_tasks * config.source.num_streams * config.source.num_steps // _STEPS_A_CALL)
    tasks_a_call = -(-num_tasks // (num_calls * mesh.size)) * mesh.size
    parts = []
    for start in range(0, num_tasks, tasks_a_call):
        # The last call repeats a task where too few are left: one shape, compiled once.
        rows = np.minimum(np.arange(start, start + tasks_a_call), num_tasks - 1)
        parts.append(jax.device_get(share(rows)))
    return jax.tree.map(lambda *x: np.concatenate(x)[:num_tasks], *parts)
