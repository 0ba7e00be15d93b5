"""Dark Room: find a goal that cannot be seen, on a square grid.

Source: Laskin et al. (2022), In-context Reinforcement Learning with Algorithm
Distillation, section 4; actions and sizes as in the original system.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import grid
from compad_jax.envs.protocol import Discrete, EnvSpec, all_observations
from compad_jax.envs.tabular import TabularModel, deterministic_model, shortest_ways
from compad_jax.types import Transition


@dataclasses.dataclass(frozen=True)
class DarkRoom:
    """The agent sees its own cell only and gets reward 1 for each step spent on the goal.

    A state, an observation and a task (the goal) are each a cell, int [2] (row, column).
    """

    grid_size: int = 9
    horizon: int = 20
    start: str = "center"  # center, corner (row 0, column 0) or random.

    @property
    def spec(self) -> EnvSpec:
        """See `Env`."""
        return EnvSpec(grid.NUM_MOVES, Discrete((self.grid_size, self.grid_size)), self.horizon)

    @property
    def num_tasks(self) -> int:
        """Every cell is a goal once."""
        return self.grid_size**2

    @property
    def num_stages(self) -> None:
        """See `MappedEnv`: the goal pays at every step."""
        return None

    def task(self, index: jax.Array) -> jax.Array:
        """The goal of a number, in row-major order: int [2]."""
        return jnp.stack(jnp.divmod(index, self.grid_size))

    def reset(self, key: jax.Array, task: jax.Array) -> tuple[jax.Array, jax.Array]:
        """First cell of an episode, as state and as observation."""
        del task
        cell = grid.first_cell(key, self.grid_size, self.start)
        return cell, cell

    def step(
        self, key: jax.Array, env_state: jax.Array, action: jax.Array, task: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Moves; walls stop. Reward 1 if the new cell is the goal; never terminal."""
        del key
        chex.assert_shape([env_state, task], (2,))
        cell = grid.move(env_state, action, self.grid_size)
        return cell, cell, jnp.all(cell == task).astype(jnp.float32), jnp.zeros((), bool)

    def tabular(self, task: jax.Array) -> TabularModel:
        """The task as tables over row * grid_size + column."""
        # NumPy, as no task changes it: a constant of every program.
        next_cell = grid.next_cells(self.grid_size)
        is_goal = (all_observations(Discrete((self.grid_size,) * 2)) == task).all(-1)
        initial = jnp.asarray(grid.first_cell_probabilities(self.grid_size, self.start))
        return deterministic_model(next_cell, is_goal.astype(jnp.float32)[next_cell], initial)

    def state_index(self, env_state: jax.Array) -> jax.Array:
        """Row * grid_size + column, int [...]."""
        return grid.cell_number(env_state, self.grid_size)

    def optimal_actions(self, transition: Transition, task: jax.Array) -> jax.Array:
        """See `GuidedEnv`."""
        ways = shortest_ways(self.tabular(task), self.horizon)
        return ways[self.state_index(transition.obs)]

    def next_places(self) -> np.ndarray:
        """See `MappedEnv`."""
        return grid.next_cells(self.grid_size)

    def place(self, env_state: jax.Array) -> jax.Array:
        """See `MappedEnv`."""
        return self.state_index(env_state)
