"""Sources x tasks x seeds -> a store of learning histories."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from compad_jax.backend import sharding
from compad_jax.backend.progress_bar import progress_bar
from compad_jax.config import Config
from compad_jax.config.checks import ConfigError, require
from compad_jax.envs import make_env
from compad_jax.envs.protocol import Env, GuidedEnv
from compad_jax.envs.split import choose_tasks
from compad_jax.histories.store import (
    ADVICE,
    IMPORTED,
    Store,
    store_directory,
    store_settings,
)
from compad_jax.histories.store_manifest import Origin
from compad_jax.histories.store_records import is_address
from compad_jax.histories.store_writer import (
    make_layout,
    only_one_program,
    share_of_tasks,
    write_parts,
)
from compad_jax.histories.validate import find_mistake
from compad_jax.sources import make_source
from compad_jax.sources.actions import draw_action
from compad_jax.types import History

_STEPS_A_CALL = 4_000_000  # Environment steps of one jitted call: bounds its memory.


def load_histories(config: Config, tasks: np.ndarray | None = None) -> History:
    """Reads the histories of tasks, collecting those of every task first if there is no store.

    Several processes call it together: each collects its share, and reads what it asks for.

    Args:
        config: `env`, `source` and `data.dir`.
        tasks: which ones to read, int [N], ascending; None: all.

    Returns:
        NumPy arrays [G, R, T], or [N, R, T].

    Raises:
        ConfigError: the store is damaged, was made by other settings or other code, or holds
            what cannot be in histories of this environment.
    """
    return load_histories_and_hash(config, tasks)[0]


def load_histories_and_hash(config: Config, tasks: np.ndarray | None = None) -> tuple[History, str]:
    """As `load_histories`; returns also what identifies these histories, see `hash_store`."""
    store, directory = open_histories(config)
    history, env = store.read(tasks), make_env(config.env)
    used = choose_tasks(env.num_tasks, config.env.num_tasks) if tasks is None else tasks
    shape = (len(used), config.source.num_streams, config.source.num_steps)
    mistake = find_mistake(history, env.spec, shape)
    require(not mistake, f"{directory}: {mistake}; {ADVICE}")
    return history, store.hash


def open_histories(config: Config) -> tuple[Store, str]:
    """Opens the store of the settings, made first if there is none; returns also its place."""
    if config.source.name == IMPORTED:
        return _open_imported(config)
    learn, num_tasks = make_learner(config)
    origin = Origin(store_settings(config), program_hash(learn))
    directory = store_directory(config, origin)
    if not is_address(directory):  # Where folders cannot be renamed, stores are only read.
        with only_one_program(directory) as is_there:
            if not is_there:
                one_task = jax.eval_shape(learn, jax.ShapeDtypeStruct((), jnp.int32))
                _make_store(config, directory, origin, one_task, num_tasks)
    return Store(directory, origin), directory


def _open_imported(config: Config) -> tuple[Store, str]:
    """As `open_histories`, of a store that `histories.write` or an importer has made."""
    directory = config.data.dir
    require(bool(directory), f"source.name={IMPORTED!r}: name their store by --config.data.dir")
    return Store(directory, Origin(store_settings(config), IMPORTED)), directory


def check_source(config: Config) -> int:
    """The number of tasks, G; a ConfigError if the settings can have no histories."""
    if config.source.name != IMPORTED:
        return make_learner(config)[1]
    _open_imported(config)
    return len(choose_tasks(make_env(config.env).num_tasks, config.env.num_tasks))


def has_lengths(config: Config) -> bool:
    """Whether histories differ in length; those that a source of ours makes do not."""
    return config.source.name == IMPORTED and _open_imported(config)[0].has("length")


def _make_store(
    config: Config, directory: str, origin: Origin, one_task: History, num_tasks: int
) -> None:
    """Collects the share of this process, and writes it as it comes: it need not fit in memory."""
    start, tasks = time.monotonic(), share_of_tasks(num_tasks)
    layout = make_layout(one_task, num_tasks, make_env(config.env).spec)
    parts = _checked(config, collect_parts(config, tasks))
    write_parts(directory, parts, layout, int(tasks[0]) if len(tasks) else 0, origin)
    steps = num_tasks * config.source.num_streams * config.source.num_steps
    seconds = time.monotonic() - start
    print(f"collected {steps:,} steps of {config.source.name} in {seconds:.1f} s: {directory}")


def _checked(config: Config, parts: Iterable[History]) -> Iterator[History]:
    """The same histories; raises a ConfigError if the source has made impossible ones."""
    spec, source = make_env(config.env).spec, config.source
    for part in parts:
        shape = (len(part.transition.action), source.num_streams, source.num_steps)
        mistake = find_mistake(part, spec, shape)
        require(not mistake, f"source.name={source.name!r}: makes impossible {mistake}")
        yield part


def make_learner(config: Config) -> tuple[Callable[[jax.Array], History], int]:
    """Builds the function that lets the source learn one task, by `env` and `source`.

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
    """The same histories [R, T] of a task, with optimal actions to be imitated and their policy.

    The key, which is consumed, draws among equally good actions.

    Source: Lee et al. (2023), Supervised pretraining can learn in-context reinforcement learning,
    section 3. Deviation: every step of a history is a query, not a state drawn beside it.
    """
    probability = jax.vmap(env.optimal_actions, (0, None))(history.transition, task)
    log_probs = jnp.log(probability)
    noise = jax.random.uniform(key, probability.shape[:-1])
    return history._replace(log_probs=log_probs, target=draw_action(noise, log_probs))


def program_hash(learn: Callable[[jax.Array], History]) -> str:
    """Identifies the code of an environment and a source by what it compiles to, in hexadecimal.

    Nobody has to remember to change a version: whatever changes the histories, a setting of
    JAX included, changes the program. Comments and names do not, nor do the devices.
    """
    traced = jax.jit(learn).trace(jax.ShapeDtypeStruct((), jnp.int32))
    text = traced.lower(lowering_platforms=("cpu",)).as_text()  # StableHLO, constants included.
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def collect(config: Config, tasks: np.ndarray | None = None) -> History:
    """Lets the source learn tasks, on the devices of this process.

    Histories of held-out tasks are collected too, as the reference curve of evaluations;
    the tasks are split only when a dataset is made of them.

    Args:
        config: `env` and `source`.
        tasks: which ones, int [N]; None: all.

    Returns:
        NumPy arrays [G, R, T], or [N, R, T]; log-probabilities in float16.
    """
    tasks = np.arange(make_learner(config)[1]) if tasks is None else tasks
    return jax.tree.map(lambda *x: np.concatenate(x), *collect_parts(config, tasks))


def collect_parts(config: Config, tasks: np.ndarray) -> Iterator[History]:
    """As `collect`, some of the tasks at a time, in their order."""
    if not len(tasks):
        return
    mesh, split = sharding.make_local_mesh(), PartitionSpec("data")
    learn, _ = make_learner(config)
    # Whole tasks are split, so that no device waits for another. Nothing crosses devices, so
    # there is nothing to check of what varies over them.
    share = jax.shard_map(
        jax.vmap(learn), mesh=mesh, in_specs=split, out_specs=split, check_vma=False
    )
    share = jax.jit(share)
    steps = len(tasks) * config.source.num_streams * config.source.num_steps
    tasks_a_call = -(-len(tasks) // (-(-steps // _STEPS_A_CALL) * mesh.size)) * mesh.size
    with progress_bar("collecting", len(tasks), "task") as bar:
        for start in range(0, len(tasks), tasks_a_call):
            # The last call repeats a task where too few are left: one shape, compiled once.
            rows = np.minimum(np.arange(start, start + tasks_a_call), len(tasks) - 1)
            part, count = jax.device_get(share(tasks[rows])), len(tasks) - start
            yield jax.tree.map(lambda x, count=count: x[:count], part)
            bar.update(min(count, tasks_a_call))
