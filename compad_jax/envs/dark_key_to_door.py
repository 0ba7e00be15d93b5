"""Dark Key-to-Door: find a key, then a door, neither of which can be seen.

Source: Laskin et al. (2022), In-context Reinforcement Learning with Algorithm
Distillation, section 4. Deviations: an episode starts in the centre by default, not in a random
cell (`start="random"`); key and door may lie in one cell, and the door then pays a step later.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import grid
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.envs.tabular import TabularModel, deterministic_model

_NUM_STAGES = 2  # Without the key; with the key. After the door nothing is left to earn.


class KeyToDoorState(NamedTuple):
    """What the agent cannot see stands beside what it sees."""

    cell: jax.Array  # int [2], (row, column).
    stage: jax.Array  # int [], rewards paid in this episode: 0, 1 or 2.


@dataclasses.dataclass(frozen=True)
class DarkKeyToDoor:
    """Reward 1 for first entering the key's cell, then 1 for first entering the door's with it.

    An observation is the own cell, int [2] (row, column): it hides key, door and whether the key
    is held. A task is two cells, int [2, 2]: the key's and the door's.
    """

    grid_size: int = 9
    horizon: int = 50
    start: str = "center"  # center, corner (row 0, column 0) or random.

    @property
    def spec(self) -> EnvSpec:
        """See `Env`."""
        return EnvSpec(grid.NUM_MOVES, Discrete((self.grid_size, self.grid_size)), self.horizon)

    @property
    def num_tasks(self) -> int:
        """Every pair of cells once."""
        return self.grid_size**4

    @property
    def num_stages(self) -> int:
        """See `MappedEnv`."""
        return _NUM_STAGES

    def task(self, index: jax.Array) -> jax.Array:
        """Key and door of a number, whose digits to the base `grid_size` they are: int [2, 2]."""
        digits = index // self.grid_size ** jnp.arange(3, -1, -1) % self.grid_size
        return digits.reshape(2, 2)

    def reset(self, key: jax.Array, task: jax.Array) -> tuple[KeyToDoorState, jax.Array]:
        """First cell of an episode, without the key."""
        del task
        cell = grid.first_cell(key, self.grid_size, self.start)
        return KeyToDoorState(cell, jnp.zeros((), jnp.int32)), cell

    def step(
        self, key: jax.Array, env_state: KeyToDoorState, action: jax.Array, task: jax.Array
    ) -> tuple[KeyToDoorState, jax.Array, jax.Array, jax.Array]:
        """Moves; walls stop. At most one stage a step; never terminal."""
        del key
        chex.assert_shape(task, (_NUM_STAGES, 2))
        cell = grid.move(env_state.cell, action, self.grid_size)
        pays = (task == cell).all(-1) & (env_state.stage == jnp.arange(_NUM_STAGES))
        after = KeyToDoorState(cell, env_state.stage + pays.any())
        return after, cell, pays.any().astype(jnp.float32), jnp.zeros((), bool)

    def tabular(self, task: jax.Array) -> TabularModel:
        """The task as tables over stage * cells + cell."""
        next_cell, num_cells = grid.next_cells(self.grid_size), self.grid_size**2
        target = grid.cell_number(task, self.grid_size)
        pays = next_cell == target[:, None, None]  # [stages, cells, A]
        pays = jnp.concatenate([pays, jnp.zeros((1, *next_cell.shape), bool)])
        stage = jnp.arange(_NUM_STAGES + 1)[:, None, None] + pays
        next_state = (stage * num_cells + next_cell).reshape(-1, grid.NUM_MOVES)
        reward = pays.reshape(next_state.shape).astype(jnp.float32)
        first = grid.first_cell_probabilities(self.grid_size, self.start)
        initial = jnp.zeros(len(next_state)).at[:num_cells].set(first)
        return deterministic_model(next_state, reward, initial)

    def state_index(self, env_state: KeyToDoorState) -> jax.Array:
        """Stage * cells + cell, int [...]."""
        return env_state.stage * self.grid_size**2 + self.place(env_state)

    def next_places(self) -> np.ndarray:
        """See `MappedEnv`."""
        return grid.next_cells(self.grid_size)

    def place(self, env_state: KeyToDoorState) -> jax.Array:
        """See `MappedEnv`."""
        return grid.cell_number(env_state.cell, self.grid_size)
