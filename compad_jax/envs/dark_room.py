"""Dark Room: find a goal that cannot be seen, on a square grid.

Source: Laskin et al. (2022), In-context Reinforcement Learning with Algorithm
Distillation, section 4; actions and sizes as in the original system.
"""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs.protocol import Discrete, EnvSpec, all_observations
from compad_jax.envs.tabular import TabularModel, deterministic_model

# Down, up, right, left, stay; as changes of (row, column).
_MOVES = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)], np.int32)


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
        return EnvSpec(len(_MOVES), Discrete((self.grid_size, self.grid_size)), self.horizon)

    @property
    def num_tasks(self) -> int:
        """Every cell is a goal once."""
        return self.grid_size**2

    def task(self, index: jax.Array) -> jax.Array:
        """The goal of a number, in row-major order: int [2]."""
        return jnp.stack(jnp.divmod(index, self.grid_size))

    def reset(self, key: jax.Array, task: jax.Array) -> tuple[jax.Array, jax.Array]:
        """First cell of an episode, as state and as observation."""
        del task
        if self.start == "random":
            cell = jax.random.randint(key, (2,), 0, self.grid_size)
        else:
            first = self.grid_size // 2 if self.start == "center" else 0
            cell = jnp.full((2,), first, jnp.int32)
        return cell, cell

    def step(
        self, key: jax.Array, env_state: jax.Array, action: jax.Array, task: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Moves; walls stop. Reward 1 if the new cell is the goal; never terminal."""
        del key
        chex.assert_shape([env_state, task], (2,))
        cell = jnp.clip(env_state + jnp.asarray(_MOVES)[action], 0, self.grid_size - 1)
        return cell, cell, jnp.all(cell == task).astype(jnp.float32), jnp.zeros((), bool)

    def tabular(self, task: jax.Array) -> TabularModel:
        """The task as tables over row * grid_size + column."""
        cells = all_observations(Discrete((self.grid_size, self.grid_size)))
        # NumPy, as no task changes it: a constant of every program.
        after: Any = np.clip(cells[:, None] + _MOVES, 0, self.grid_size - 1)
        reward = jnp.all(jnp.asarray(after) == task, axis=-1).astype(jnp.float32)
        if self.start == "random":
            initial = jnp.full(len(cells), 1 / len(cells))
        else:
            first = self.state_index(self.reset(jax.random.key(0), task)[0])
            initial = jax.nn.one_hot(first, len(cells))
        return deterministic_model(self.state_index(after), reward, initial)

    def state_index(self, env_state: jax.Array) -> jax.Array:
        """Row * grid_size + column, int [...]."""
        return env_state[..., 0] * self.grid_size + env_state[..., 1]
