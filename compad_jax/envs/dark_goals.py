"""Dark rooms with goals in sequence: each pays once an episode, and none can be seen.

One goal is Dark Room with a reward for the first visit only; two are Dark Key-to-Door, where the
second pays only with the key.

Source: Laskin et al. (2022), In-context Reinforcement Learning with Algorithm Distillation,
section 4. Deviations: an episode starts in the centre by default, not in a random cell
(`start="random"`); goals may lie in one cell, and the later one then pays a step later; there may
be more than two.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import grid
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.envs.tabular import TabularModel, deterministic_model, shortest_ways
from compad_jax.types import Transition

_LARGEST_FAMILY = 2**31 - 1  # Numbers of type int32.


class GoalsState(NamedTuple):
    """What the agent cannot see stands beside what it sees."""

    cell: jax.Array  # int [2], (row, column).
    stage: jax.Array  # int [], goals reached in this episode.


@dataclasses.dataclass(frozen=True)
class DarkGoals:
    """Reward 1 for first entering the cell of each goal, in their order.

    An observation is the own cell, int [2] (row, column): it hides the goals and how many of them
    were reached. A task is a cell a goal, int [num_goals, 2].
    """

    grid_size: int = 9
    horizon: int = 50
    start: str = "center"  # center, corner (row 0, column 0) or random.
    num_goals: int = 2

    @property
    def spec(self) -> EnvSpec:
        """See `Env`."""
        return EnvSpec(grid.NUM_MOVES, Discrete((self.grid_size, self.grid_size)), self.horizon)

    @property
    def num_tasks(self) -> int:
        """Every sequence of cells once, or as many numbers as there are."""
        return min(self.grid_size ** (2 * self.num_goals), _LARGEST_FAMILY)

    @property
    def num_stages(self) -> int:
        """See `MappedEnv`."""
        return self.num_goals

    def task(self, index: jax.Array) -> jax.Array:
        """The goals of a number, int [num_goals, 2].

        They are its digits to the base `grid_size`; where there are more sequences of cells
        than numbers, they are drawn by it.
        """
        num_digits = 2 * self.num_goals
        if self.grid_size**num_digits > _LARGEST_FAMILY:
            key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), index)
            return jax.random.randint(key, (self.num_goals, 2), 0, self.grid_size)
        digits = index // self.grid_size ** jnp.arange(num_digits - 1, -1, -1) % self.grid_size
        return digits.reshape(-1, 2)

    def reset(self, key: jax.Array, task: jax.Array) -> tuple[GoalsState, jax.Array]:
        """First cell of an episode, no goal reached."""
        del task
        cell = grid.first_cell(key, self.grid_size, self.start)
        return GoalsState(cell, jnp.zeros((), jnp.int32)), cell

    def step(
        self, key: jax.Array, env_state: GoalsState, action: jax.Array, task: jax.Array
    ) -> tuple[GoalsState, jax.Array, jax.Array, jax.Array]:
        """Moves; walls stop. At most one goal a step; never terminal."""
        del key
        chex.assert_shape(task, (self.num_goals, 2))
        cell = grid.move(env_state.cell, action, self.grid_size)
        pays = (task == cell).all(-1) & (env_state.stage == jnp.arange(self.num_goals))
        after = GoalsState(cell, env_state.stage + pays.any())
        return after, cell, pays.any().astype(jnp.float32), jnp.zeros((), bool)

    def is_finished(self, env_state: GoalsState) -> jax.Array:
        """See `FinishableEnv`: every goal was reached."""
        return env_state.stage == self.num_goals

    @property
    def hidden_space(self) -> Discrete:
        """See `HidingEnv`: how many goals were reached."""
        return Discrete((self.num_goals + 1,))

    def hidden(self, env_state: GoalsState) -> jax.Array:
        """See `HidingEnv`."""
        return env_state.stage[None]

    def tabular(self, task: jax.Array) -> TabularModel:
        """The task as tables over stage * cells + cell."""
        next_cell, num_cells = grid.next_cells(self.grid_size), self.grid_size**2
        target = grid.cell_number(task, self.grid_size)
        pays = next_cell == target[:, None, None]  # [stages, cells, A]
        pays = jnp.concatenate([pays, jnp.zeros((1, *next_cell.shape), bool)])
        stage = jnp.arange(self.num_goals + 1)[:, None, None] + pays
        next_state = (stage * num_cells + next_cell).reshape(-1, grid.NUM_MOVES)
        reward = pays.reshape(next_state.shape).astype(jnp.float32)
        first = grid.first_cell_probabilities(self.grid_size, self.start)
        initial = jnp.zeros(len(next_state)).at[:num_cells].set(first)
        return deterministic_model(next_state, reward, initial)

    def state_index(self, env_state: GoalsState) -> jax.Array:
        """Stage * cells + cell, int [...]."""
        return env_state.stage * self.grid_size**2 + self.place(env_state)

    def optimal_actions(self, transition: Transition, task: jax.Array) -> jax.Array:
        """See `GuidedEnv`; the rewards of an episode tell how many goals were reached."""

        def count(stage: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
            reward, done = step
            return jnp.where(done, 0, stage + (reward > 0)), stage

        none = jnp.zeros((), jnp.int32)
        _, stage = jax.lax.scan(count, none, (transition.reward, transition.done))
        ways = shortest_ways(self.tabular(task), self.horizon)
        return ways[self.state_index(GoalsState(transition.obs, stage))]

    def next_places(self) -> np.ndarray:
        """See `MappedEnv`."""
        return grid.next_cells(self.grid_size)

    def place(self, env_state: GoalsState) -> jax.Array:
        """See `MappedEnv`."""
        return grid.cell_number(env_state.cell, self.grid_size)
