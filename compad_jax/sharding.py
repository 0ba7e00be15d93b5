"""One mesh with a `data` axis over all devices; windows are split, all else is replicated."""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from compad_jax.config import ConfigError


def make_mesh() -> jax.sharding.Mesh:
    """A mesh over every device. Auto axes: embedding look-ups fail under Explicit ones."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, mesh: jax.sharding.Mesh) -> None:
    """Raises ConfigError if the devices cannot share a batch evenly."""
    devices = int(np.prod(list(mesh.shape.values())))
    if batch_size % devices:
        raise ConfigError(
            f"train.train_batch_size={batch_size}: must be a multiple of the {devices} devices"
        )
