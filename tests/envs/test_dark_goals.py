"""Dark rooms with goals in sequence in lockstep with an oracle; their tables and optima."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.envs import protocol
from compad_jax.envs.dark_goals import DarkGoals, GoalsState
from compad_jax.envs.tabular import all_decision_values, all_fewest_steps, optimal_returns
from tests.builders import play, random_keys, tasks_of

_DELTAS = {0: (1, 0), 1: (-1, 0), 2: (0, 1), 3: (0, -1), 4: (0, 0)}


class OracleRoom:
    """One room in plain Python; written from the description, not from the code."""

    def __init__(self, size, horizon, goals):
        self.size, self.horizon, self.goals = size, horizon, goals

    def start(self, cell):
        self.cell, self.time, self.left = cell, 0, list(self.goals)

    def step(self, action):
        """(cell, reward, whether the horizon was reached)."""
        cell = tuple(c + d for c, d in zip(self.cell, _DELTAS[action], strict=True))
        if all(0 <= c < self.size for c in cell):
            self.cell = cell
        self.time += 1
        reward = 0.0
        if self.left and self.left[0] == self.cell:
            self.left.pop(0)
            reward = 1.0
        return self.cell, reward, self.time == self.horizon


@pytest.mark.parametrize(
    ("size", "horizon", "start", "num_goals"),
    [(5, 17, "center", 1), (3, 17, "center", 2), (2, 9, "random", 3), (3, 25, "corner", 2)],
)
def test_lockstep_with_the_oracle(size, horizon, start, num_goals):
    env, num_steps = DarkGoals(size, horizon, start, num_goals), 120
    num_tasks = size ** (2 * num_goals)
    assert env.num_tasks == num_tasks
    actions = np.random.default_rng(size).integers(5, size=(num_steps, num_tasks))
    keys = random_keys((num_steps + 1, num_tasks))
    first_obs, timesteps = jax.device_get(jax.jit(lambda k: play(env, k, actions))(keys))
    chex.assert_shape([timesteps.obs, timesteps.next_obs], (num_steps, num_tasks, 2))
    chex.assert_type([timesteps.obs, timesteps.reward], [jnp.int32, jnp.float32])
    np.testing.assert_array_equal(timesteps.action, actions)
    assert not timesteps.terminated.any()
    assert not timesteps.distracted.any()

    fixed = {"center": (size // 2, size // 2), "corner": (0, 0)}.get(start)
    most = 0
    for g in range(num_tasks):
        digits = np.unravel_index(g, (size,) * (2 * num_goals))
        goals = list(zip(digits[::2], digits[1::2], strict=True))
        oracle = OracleRoom(size, horizon, goals)
        first = tuple(first_obs[g].tolist())
        assert first == (fixed or first)
        oracle.start(first)
        total = 0
        for t in range(num_steps):
            cell, reward, truncated = oracle.step(actions[t, g])
            where = f"task {g}, step {t}"
            assert tuple(timesteps.next_obs[t, g]) == cell, where
            assert timesteps.reward[t, g] == reward, where
            assert timesteps.truncated[t, g] == truncated, where
            total += reward
            seen = tuple(timesteps.obs[t, g].tolist())
            if truncated:
                assert seen == (fixed or seen), where
                oracle.start(seen)
                most, total = max(most, total), 0
            else:
                assert seen == cell, where
    assert most == num_goals  # All rewards were seen, and none beyond them.


def test_large_families_are_drawn():
    """More sequences of cells than numbers: a number draws its own, with all cells in reach."""
    env = DarkGoals(9, 100, num_goals=8)
    assert env.num_tasks == 2**31 - 1
    tasks = np.asarray(protocol.make_tasks(env, np.arange(2_000)))
    chex.assert_shape(tasks, (2_000, 8, 2))
    assert len(np.unique(tasks.reshape(2_000, -1), axis=0)) == 2_000
    counts = np.bincount((tasks[..., 0] * 9 + tasks[..., 1]).ravel(), minlength=81)
    assert len(counts) == 81
    assert abs(counts / counts.mean() - 1).max() < 0.35  # Of 198 each; five standard deviations.


def test_every_pair_of_cells_is_a_task_once():
    tasks = np.asarray(tasks_of(DarkGoals(9)))
    chex.assert_shape(tasks, (6561, 2, 2))
    assert len(np.unique(tasks.reshape(-1, 4), axis=0)) == 6561
    assert (tasks.min(), tasks.max()) == (0, 8)


def test_tabular_model_agrees_with_every_step():
    size, num_tasks = 3, 81
    env = DarkGoals(size)
    tables = jax.vmap(env.tabular)(tasks_of(env))
    chex.assert_shape(tables.next_state, (num_tasks, 27, 5, 1))
    cells = np.indices((size, size)).reshape(2, -1).T
    states = GoalsState(jnp.asarray(np.tile(cells, (3, 1))), jnp.arange(3).repeat(9))
    np.testing.assert_array_equal(env.state_index(states), np.arange(27))
    over_actions = jax.vmap(partial(env.step, jax.random.key(0)), (None, 0, None))
    over_states = jax.vmap(over_actions, (0, None, None))
    over_tasks = jax.jit(jax.vmap(over_states, (None, None, 0)))
    after, _, reward, terminated = over_tasks(states, jnp.arange(5), tasks_of(env))
    np.testing.assert_array_equal(tables.next_state[..., 0], env.state_index(after))
    np.testing.assert_array_equal(tables.reward, reward)
    assert not (terminated.any() or tables.terminal.any())
    np.testing.assert_array_equal(tables.initial, np.tile(np.eye(27)[4], (num_tasks, 1)))


def test_optimum_of_the_paper_room_is_two():
    env = DarkGoals()
    tasks = protocol.make_tasks(env, np.arange(0, 6561, 41))
    np.testing.assert_array_equal(optimal_returns(env, tasks), 2.0)


def test_optimum_of_short_episodes_counts_the_steps():
    """Entering the key's cell takes a step at least, and so does entering the door's after it."""
    env = DarkGoals(grid_size=5, horizon=4)
    tasks = np.asarray(tasks_of(env))
    to_key = np.maximum(np.abs(tasks[:, 0] - 2).sum(-1), 1)
    to_door = np.maximum(np.abs(tasks[:, 1] - tasks[:, 0]).sum(-1), 1)
    expected = (to_key <= 4) * 1.0 + (to_key + to_door <= 4)
    np.testing.assert_array_equal(optimal_returns(env, tasks), expected)


def test_map_and_place_are_those_of_the_cells():
    env = DarkGoals(grid_size=4)
    state = GoalsState(jnp.array([2, 3]), jnp.array(1))
    assert env.place(state) == 11
    np.testing.assert_array_equal(env.next_places()[11], [15, 7, 11, 10, 11])


def test_shortest_ways_lead_to_the_first_goal():
    """Distance on the grid; a goal in the first cell takes one step, which may be to stay."""
    env = DarkGoals(grid_size=5, horizon=30)
    tasks = np.asarray(tasks_of(env))
    offset = tasks[:, 0] - 2
    expected = np.maximum(np.abs(offset).sum(-1), 1)
    np.testing.assert_array_equal(all_fewest_steps(env, tasks), expected)
    row, column = offset.T
    sets_out = np.stack([row > 0, row < 0, column > 0, column < 0, (row == 0) & (column == 0)], -1)
    np.testing.assert_array_equal(all_decision_values(env, tasks), sets_out)


@pytest.mark.parametrize("fields", [{"start": "random"}, {"horizon": 3}])
def test_without_one_shortest_way_nothing_is_said(fields):
    env = DarkGoals(**{"grid_size": 5, "horizon": 30, "num_goals": 1} | fields)
    steps = all_fewest_steps(env, tasks_of(env))
    assert np.isnan(steps).any()  # All where the start is random; else those out of reach.
    assert np.isnan(all_decision_values(env, tasks_of(env))[np.isnan(steps)]).all()
