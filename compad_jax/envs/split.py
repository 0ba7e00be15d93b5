"""Which tasks are trained on, which choose the checkpoint, and which are never touched."""

from typing import Any, NamedTuple

import numpy as np

from compad_jax.config import EnvConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs.protocol import Env, make_tasks

_LARGEST_WHOLE_FAMILY = 1_000_000  # Tasks; beyond it, a number must be asked for.


class Split(NamedTuple):
    """Disjoint indices of tasks, each ascending."""

    train: np.ndarray  # int [.]
    validation: np.ndarray  # int [.], taken from the training share.
    held_out: np.ndarray  # int [.]


def choose_tasks(family_size: int, num_tasks: int) -> np.ndarray:
    """Draws which G tasks of a family are used, 0 for all: their numbers, int [G], ascending.

    They are always the same ones, whatever the split.

    Raises:
        ConfigError: the family is smaller, or too large to use all of it.
    """
    if num_tasks == 0 and family_size > _LARGEST_WHOLE_FAMILY:
        raise ConfigError(
            f"env.num_tasks=0: must say how many of the family's {family_size} tasks are used"
        )
    if num_tasks > family_size:
        raise ConfigError(f"env.num_tasks={num_tasks}: the family has only {family_size} tasks")
    if num_tasks in (0, family_size):
        return np.arange(family_size)
    return np.sort(np.random.default_rng(0).choice(family_size, num_tasks, replace=False))


def split_tasks(num_tasks: int, config: EnvConfig) -> Split:
    """Draws the split of G tasks from its seed; every task stands in exactly one part.

    Raises:
        ConfigError: a part that is needed would be empty.
    """
    order = np.random.default_rng(config.split_seed).permutation(num_tasks)
    num_seen = round(num_tasks * config.train_env_ratio)
    num_validation = max(1, round(num_seen * config.validation_ratio))
    if not (num_validation < num_seen < num_tasks):
        raise ConfigError(
            f"env.train_env_ratio={config.train_env_ratio}, env.validation_ratio="
            f"{config.validation_ratio}: {num_tasks} tasks leave an empty part; there are more "
            "with another env.num_tasks or a larger family"
        )
    seen, held_out = order[:num_seen], order[num_seen:]
    return Split(
        train=np.sort(seen[num_validation:]),
        validation=np.sort(seen[:num_validation]),
        held_out=np.sort(held_out),
    )


def tasks_of(env: Env, config: EnvConfig, part: str) -> tuple[np.ndarray, Any]:
    """The rows in the histories, int [.], and the tasks, [., ...], of one part of the split."""
    chosen = choose_tasks(env.num_tasks, config.num_tasks)
    rows = getattr(split_tasks(len(chosen), config), part)
    return rows, make_tasks(env, chosen[rows])
