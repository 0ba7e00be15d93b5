"""Which tasks are trained on, which choose the checkpoint, and which are never touched."""

from typing import NamedTuple

import numpy as np

from compad_jax.config import EnvConfig
from compad_jax.config.checks import ConfigError


class Split(NamedTuple):
    """Disjoint indices of tasks, each ascending."""

    train: np.ndarray  # int [.]
    validation: np.ndarray  # int [.], taken from the training share.
    held_out: np.ndarray  # int [.]


def split_tasks(num_tasks: int, config: EnvConfig) -> Split:
    """Draws the split from its seed.

    Args:
        num_tasks: size of the family, G.
        config: `split_seed`, `train_env_ratio` and `validation_ratio`.

    Returns:
        The split; every task stands in exactly one part.

    Raises:
        ConfigError: a part that is needed would be empty.
    """
    order = np.random.default_rng(config.split_seed).permutation(num_tasks)
    num_seen = round(num_tasks * config.train_env_ratio)
    num_validation = max(1, round(num_seen * config.validation_ratio))
    if not (num_validation < num_seen < num_tasks):
        raise ConfigError(
            f"env.train_env_ratio={config.train_env_ratio}, env.validation_ratio="
            f"{config.validation_ratio}: {num_tasks} tasks leave an empty part"
        )
    seen, held_out = order[:num_seen], order[num_seen:]
    return Split(
        train=np.sort(seen[num_validation:]),
        validation=np.sort(seen[:num_validation]),
        held_out=np.sort(held_out),
    )
