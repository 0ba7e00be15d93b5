"""Sources x tasks x seeds -> a store of learning histories."""

import hashlib
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from compad_jax.backend import sharding
from compad_jax.config import Config
from compad_jax.config.checks import ConfigError, require
from compad_jax.envs import make_env
from compad_jax.envs.protocol import Env, GuidedEnv
from compad_jax.envs.split import choose_tasks
from compad_jax.histories.store import (
    ADVICE,
    Origin,
    hash_store,
    making,
    read_store,
    store_directory,
    store_settings,
    write_store,
)
from compad_jax.histories.validate import find_mistake
from compad_jax.sources import make_source
from compad_jax.sources.actions import draw_action
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
    return load_histories_and_hash(config)[0]


def load_histories_and_hash(config: Config) -> tuple[History, str]:
    """As `load_histories`; returns also what identifies these histories, see `hash_store`."""
    learn, num_tasks = make_learner(config)
    origin = Origin(store_settings(config), program_hash(learn))
    directory = store_directory(config, origin)
    if not os.path.exists(directory):
        with making(directory):
            if not os.path.exists(directory):  # Or another process made it meanwhile.
                _make_store(config, directory, origin)
    history = read_store(directory, origin)
    shape = (num_tasks, config.source.num_streams, config.source.num_steps)
    mistake = find_mistake(history, make_env(config.env).spec, shape)
    if mistake:
        raise ConfigError(f"{directory}/{mistake}; {ADVICE}")
    return history, hash_store(directory)


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
    guide = _guide(config, env) if config.source.target == "optimal" else None
    chosen = choose_tasks(env.num_tasks, config.env.num_tasks)

    def learn(row: jax.Array) -> History:
        # The generator is named: JAX_DEFAULT_PRNG_IMPL must not decide what is learned.
        key = jax.random.key(config.source.seed, impl="threefry2x32")
        task = env.task(jnp.asarray(chosen, jnp.int32)[row])
        history = source(jax.random.split(key, len(chosen))[row], task)
        if guide:
            history = aim_at_optimum(guide, task, jax.random.fold_in(key, row), history)
        if history.log_probs is None:
            return history
        return history._replace(log_probs=history.log_probs.astype(jnp.float16))

    return learn, len(chosen)


def _guide(config: Config, env: Env) -> GuidedEnv:
    """The environment, if it and the source allow to tell what is best."""
    if not isinstance(env, GuidedEnv):
        name = config.env.name
        raise ConfigError(f"source.target='optimal': {name} cannot tell optimal actions")
    name, own = config.source.name, getattr(config.source, config.source.name, None)
    require(
        not getattr(own, "late_reward_ratio", 0),
        f"source.target='optimal': source.{name}.late_reward_ratio must be 0, as hidden rewards "
        "hide what is best",
    )
    return env


def aim_at_optimum(env: GuidedEnv, task: Any, key: jax.Array, history: History) -> History:
    """The same histories with optimal actions to be imitated, in place of those taken.

    Source: Lee et al. (2023), Supervised pretraining can learn in-context reinforcement learning,
    section 3. Deviation: every step of a history is a query, not a state drawn beside it.

    Args:
        env: the environment.
        task: that of the histories.
        key: PRNG key, consumed; it draws among equally good actions.
        history: [R, T].

    Returns:
        Histories whose log-probabilities are those of the optimal policy.
    """
    probability = jax.vmap(env.optimal_actions, (0, None))(history.transition, task)
    log_probs = jnp.log(probability)
    noise = jax.random.uniform(key, probability.shape[:-1])
    return history._replace(log_probs=log_probs, target=draw_action(noise, log_probs))


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
