"""What a training learns from and is measured on: histories in memory, or streamed."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.backend import processes
from compad_jax.config import Config
from compad_jax.config.checks import require
from compad_jax.envs import make_env
from compad_jax.envs.split import choose_tasks, split_tasks
from compad_jax.histories.collection import load_histories_and_hash, open_histories
from compad_jax.histories.dataset import (
    Dataset,
    make_datasets,
    make_place_windows,
    tasks_of_process,
)
from compad_jax.histories.sampler import draw_rows, plan_segments
from compad_jax.histories.store import Store
from compad_jax.histories.streaming import DrawRows, StreamedHistories
from compad_jax.histories.validate import find_mistake
from compad_jax.training.losses import loss_floor
from compad_jax.training.step import step_keys, uses_dropout
from compad_jax.types import History


class TrainingData(NamedTuple):
    """Histories of a training."""

    train: Callable[[int], Dataset]  # What `train_steps` takes at a step.
    measured: dict[str, Dataset]  # Validation and held_out; nothing of them is learned.
    store_hash: str  # Identifies the histories.


def load_data(config: Config, mesh: jax.sharding.Mesh, key: jax.Array) -> TrainingData:
    """Collects the histories where there are none yet, and makes them ready.

    With `data.streamed`, they stay in their store and are read as they are needed. `key` is that of
    the training steps, by which they draw windows.
    """
    if config.data.streamed:
        return _stream(config, mesh, key)
    datasets, store_hash = _load_datasets_and_hash(config, mesh)
    train = datasets.pop("train")
    return TrainingData(lambda step: train, datasets, store_hash)


def load_datasets(config: Config, mesh: jax.sharding.Mesh) -> dict[str, Dataset]:
    """The histories of each part of the split, shared out over the devices.

    Returns:
        Datasets train, validation and held_out; they share no task. Only `train` is
        learned from, only `validation` chooses a checkpoint; `held_out` is reported.
    """
    return _load_datasets_and_hash(config, mesh)[0]


def _load_datasets_and_hash(
    config: Config, mesh: jax.sharding.Mesh
) -> tuple[dict[str, Dataset], str]:
    """As `load_datasets`; returns also what identifies the histories."""
    parts, tasks = _split(config), None
    if processes.count() > 1:
        tasks = tasks_of_process(parts, config.source.num_streams, mesh)
    history, store_hash = load_histories_and_hash(config, tasks)
    _say_what_is_known(history.log_probs is not None)
    floor_fn = partial(loss_floor, smoothing=config.optimizer.label_smoothing)
    return make_datasets(history, parts, floor_fn, mesh, tasks), store_hash


def _stream(config: Config, mesh: jax.sharding.Mesh, key: jax.Array) -> TrainingData:
    """As `load_data`, of histories that stay in their store."""
    store, directory = open_histories(config)
    _say_what_is_known(store.has("log_probs"))
    parts, num_streams = _split(config), config.source.num_streams
    floor_fn = partial(loss_floor, smoothing=config.optimizer.label_smoothing)

    def measured(tasks: np.ndarray) -> Dataset:
        """As many histories as are measured, at equal distances."""
        count = config.train.eval_batches * config.train.train_batch_size
        rows = np.linspace(0, len(tasks) * num_streams - 1, count).round().astype(int)
        task, stream = tasks[rows // num_streams], rows % num_streams
        history = _read(config, store, directory, task[None], stream[None])
        return make_datasets(history, {"": np.arange(1)}, floor_fn, mesh)[""]

    num_rows = len(parts["train"]) * num_streams
    place = make_place_windows(floor_fn, mesh)

    def read_rows(rows: np.ndarray) -> Dataset:
        """The windows of this process are consecutive, as its devices are."""
        own = np.array_split(rows, processes.count(), axis=1)[processes.index()]
        task, stream = parts["train"][own // num_streams], own % num_streams
        return place(_read(config, store, directory, task, stream), task, num_rows)

    draw, steps = _make_draw_rows(config, key, num_rows), config.train.log_every
    return TrainingData(
        train=StreamedHistories(draw, read_rows, steps),
        measured={name: measured(parts[name]) for name in ("validation", "held_out")},
        store_hash=store.hash,
    )


def _say_what_is_known(has_log_probs: bool) -> None:
    """Says once that no loss has a floor, where none will have."""
    if not has_log_probs and processes.is_primary():
        print("histories without log-probabilities: no loss has a floor, all actions are targets")


def _make_draw_rows(config: Config, key: jax.Array, num_rows: int) -> DrawRows:
    """The rows of the windows that a dispatch would draw from memory."""
    plan, size = plan_segments(config), config.train.train_batch_size
    has_dropout = uses_dropout(config.model)

    def of_step(step: jax.Array) -> jax.Array:
        sample_key, _ = step_keys(key, step, has_dropout)
        return draw_rows(sample_key, jnp.int32(num_rows), plan, batch_size=size)

    draw = jax.jit(jax.vmap(of_step))
    return lambda first: np.asarray(draw(first + jnp.arange(config.train.log_every)))


def _read(
    config: Config, store: Store, directory: str, task: np.ndarray, stream: np.ndarray
) -> History:
    """Histories [N, R, T] by tasks and streams, int [N, R]; raises if they are impossible."""
    history = store.read_histories(task, stream)
    shape = (*task.shape, config.source.num_steps)
    mistake = find_mistake(history, make_env(config.env).spec, shape)
    require(not mistake, f"{directory}: {mistake} (of those read for a batch)")
    return history


def _split(config: Config) -> dict[str, np.ndarray]:
    """The rows of tasks of each part, int [.], among those that are used."""
    num_tasks = len(choose_tasks(make_env(config.env).num_tasks, config.env.num_tasks))
    return split_tasks(num_tasks, config.env)._asdict()
