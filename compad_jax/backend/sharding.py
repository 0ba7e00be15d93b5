"""One mesh with a `data` axis over all devices; windows are split, all else is replicated."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from compad_jax.config.checks import ConfigError


def make_mesh() -> jax.sharding.Mesh:
    """A mesh over every device. Auto axes: embedding look-ups fail under Explicit ones."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def make_local_mesh() -> jax.sharding.Mesh:
    """A mesh over the devices of this process."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def place(tree: Any, where: jax.sharding.Sharding) -> Any:
    """Puts host arrays on devices; each process gives what its own devices hold.

    Leaves are arrays, or objects with a shape that give the parts that are asked for.
    """
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, where, lambda part: x[part]), tree
    )


def fetch(x: Any) -> np.ndarray:
    """The whole array on the host, also if other processes' devices hold parts of it."""
    if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)


def fetch_rows(x: Any, rows: np.ndarray) -> np.ndarray:
    """Some entries of the first axis, likewise."""
    if not isinstance(x, jax.Array) or x.is_fully_addressable:
        return np.asarray(x)[rows]
    return fetch(x[rows])


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def split_leading(tree: Any, size: int, mesh: jax.sharding.Mesh) -> Any:
    """A sharding for each array: split if its first axis has `size` entries, else whole.

    All are whole if the devices cannot share `size` entries evenly.
    """

    def choose(x: Any) -> NamedSharding:
        splits = x.ndim > 0 and x.shape[0] == size and size % mesh.size == 0
        return split_batch(mesh) if splits else replicated(mesh)

    return jax.tree.map(choose, tree)


def check_batch_size(batch_size: int, mesh: jax.sharding.Mesh) -> None:
    """Raises ConfigError if the devices cannot share a batch evenly."""
    if batch_size % mesh.size:
        raise ConfigError(
            f"train.train_batch_size={batch_size}: must be a multiple of the {mesh.size} devices"
        )
