"""Histories as they lie on the device, a row each."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.backend.process import quick_compile_options
from compad_jax.config import Config
from compad_jax.envs.protocol import EnvSpec
from compad_jax.types import History, Transition


class Dataset(NamedTuple):
    """Histories on the device; a row is one history of one task."""

    transition: Transition  # [rows, T]
    floor: jax.Array  # float [rows, T], lowest expected loss of each action, in nats.
    task: jax.Array  # int [rows], index of the task.


def make_datasets(
    history: History,
    parts: Mapping[str, np.ndarray],
    floor_fn: Callable[[jax.Array], jax.Array],
    placement: jax.sharding.Sharding | None = None,
) -> dict[str, Dataset]:
    """Puts the histories of some tasks on the device, part by part.

    Args:
        history: [G, R, T].
        parts: which of the G tasks are in each part, int [.]; no other reaches the device.
        floor_fn: lowest expected loss of each action, float [...], by the source's
            log-probabilities [..., A].
        placement: which devices hold it all; None: the first.

    Returns:
        The histories of the tasks of each part, a row each; their types are those of
        `dataset_shapes`.
    """
    floor_fn = jax.jit(floor_fn, compiler_options=quick_compile_options())
    floor = np.asarray(floor_fn(history.log_probs))

    def select(tasks: np.ndarray) -> Dataset:
        rows = jax.tree.map(lambda x: _merge(x[tasks]), (history.transition, floor))
        rows = *rows, np.repeat(tasks, floor.shape[1])
        return Dataset(*jax.device_put(jax.tree.map(_widen, rows), placement))

    return {name: select(tasks) for name, tasks in parts.items()}


def dataset_shapes(config: Config, spec: EnvSpec, num_tasks: int) -> Dataset:
    """What `make_datasets` will return for a part of so many tasks: shapes and types, no values."""
    rows, num_steps = num_tasks * config.source.num_streams, config.source.num_steps

    def array(dtype: Any, *last: int) -> Any:
        return jax.ShapeDtypeStruct((rows, num_steps, *last), dtype)

    obs = array(spec.obs_dtype, spec.obs_size)
    transition = Transition(obs, array(jnp.int32), array(jnp.float32), obs, array(jnp.bool_))
    task: Any = jax.ShapeDtypeStruct((rows,), jnp.int32)
    return Dataset(transition, array(jnp.float32), task)


def _widen(x: np.ndarray) -> np.ndarray:
    """Integers of any size as int32: how small a store can keep them depends on their values."""
    return x.astype(np.int32) if x.dtype.kind in "iu" else x


def _merge(x: np.ndarray) -> np.ndarray:
    """[tasks, R, ...] -> [tasks * R, ...]."""
    return x.reshape(-1, *x.shape[2:])
