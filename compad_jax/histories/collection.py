"""Sources x tasks x seeds -> a store of learning histories."""

import os
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from compad_jax.backend import sharding
from compad_jax.config import Config
from compad_jax.envs import make_env
from compad_jax.histories.store import (
    exclusive,
    read_store,
    store_directory,
    store_settings,
    write_store,
)
from compad_jax.sources import make_source, source_compile_options
from compad_jax.types import History

_STEPS_A_CALL = 4_000_000  # Environment steps of one jitted call: bounds its memory.


def load_histories(config: Config) -> History:
    """Reads the histories of every task, collecting them first if there is no store.

    Args:
        config: `env`, `source` and `data.dir`.

    Returns:
        NumPy arrays [G, R, T].

    Raises:
        ConfigError: the store is damaged or was made with other settings.
    """
    directory, settings = store_directory(config), store_settings(config)
    if not os.path.exists(directory):
        with exclusive(directory):
            if not os.path.exists(directory):  # Or another process made it meanwhile.
                _make_store(config, directory, settings)
    return read_store(directory, settings)


def _make_store(config: Config, directory: str, settings: dict[str, Any]) -> None:
    start = time.monotonic()
    history = collect(config)
    write_store(directory, history, settings)
    steps, seconds = history.transition.action.size, time.monotonic() - start
    print(f"collected {steps:,} steps of {config.source.name} in {seconds:.1f} s: {directory}")


def collect(config: Config) -> History:
    """Lets the source learn every task.

    Histories of held-out tasks are collected too, as the reference curve of evaluations;
    the tasks are split only when a dataset is made of them.

    Args:
        config: `env` and `source`.

    Returns:
        NumPy arrays [G, R, T]; log-probabilities in float16.
    """
    env, mesh = make_env(config.env), sharding.make_mesh()
    source, num_tasks = make_source(config.source, env), len(env.tasks)

    def learn(tasks: jax.Array) -> History:
        keys = jax.random.split(jax.random.key(config.source.seed, impl="threefry2x32"), num_tasks)
        history = jax.vmap(source)(keys[tasks], jnp.asarray(env.tasks)[tasks])
        return history._replace(log_probs=history.log_probs.astype(jnp.float16))

    split = PartitionSpec("data")  # Whole tasks, so that no device waits for another.
    # Nothing crosses devices, so there is nothing to check of what varies over them.
    share = jax.shard_map(learn, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    share = jax.jit(share, compiler_options=source_compile_options(config.source.name))
    num_calls = -(-num_tasks * config.source.num_streams * config.source.num_steps // _STEPS_A_CALL)
    tasks_a_call = -(-num_tasks // (num_calls * mesh.size)) * mesh.size
    parts = []
    for start in range(0, num_tasks, tasks_a_call):
        # The last call repeats a task where too few are left: one shape, compiled once.
        tasks = np.minimum(np.arange(start, start + tasks_a_call), num_tasks - 1)
        parts.append(jax.device_get(share(tasks)))
    return jax.tree.map(lambda *x: np.concatenate(x)[:num_tasks], *parts)
