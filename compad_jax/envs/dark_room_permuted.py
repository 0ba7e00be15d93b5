"""Dark Room with permuted actions: the goal is always the same, and what actions do is not.

Source: Son et al. (2025), Distilling reinforcement learning algorithms for in-context model-based
planning, section 5.1: 120 tasks, one for each order of the five actions; the agent starts in a
corner and the goal is the opposite one. Deviation: any start may be chosen.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import grid
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.tabular import TabularModel

_ORDERS = np.array(list(itertools.permutations(range(grid.NUM_MOVES))), np.int32)  # [120, A]


@dataclasses.dataclass(frozen=True)
class DarkRoomPermuted(DarkRoom):
    """Reward 1 for each step on the cell in the last row and column.

    An observation and a state are the own cell, int [2] (row, column). A task says which move each
    action is, int [A].
    """

    horizon: int = 50
    start: str = "corner"  # center, corner (row 0, column 0) or random.

    @property
    def _goal(self) -> jax.Array:
        return jnp.full(2, self.grid_size - 1, jnp.int32)

    @property
    def num_tasks(self) -> int:
        """Every order of the actions once."""
        return len(_ORDERS)

    @property
    def moves_are_permuted(self) -> bool:
        """See `MappedEnv`."""
        return True

    def task(self, index: jax.Array) -> jax.Array:
        """The order of a number: int [A]."""
        return jnp.asarray(_ORDERS)[index]

    def step(
        self, key: jax.Array, env_state: jax.Array, action: jax.Array, task: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Moves as the task says of the action; walls stop. Never terminal."""
        return super().step(key, env_state, task[action], self._goal)

    def tabular(self, task: jax.Array) -> TabularModel:
        """The task as tables over row * grid_size + column."""
        room = super().tabular(self._goal)
        return room._replace(
            next_state=jnp.asarray(room.next_state)[:, task],
            probability=room.probability[:, task],
            reward=room.reward[:, task],
        )
