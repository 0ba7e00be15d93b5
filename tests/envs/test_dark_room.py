"""Dark Room in lockstep with an independent NumPy oracle."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from compad_jax.envs import protocol
from compad_jax.envs.dark_room import DarkRoom
from tests.builders import play, random_keys, tasks_of

_NUM_STEPS = 75
_NAMES = ("down", "up", "right", "left", "stay")


class OracleRoom:
    """One room, one goal, plain Python; written from the description, not from the code."""

    def __init__(self, size, horizon, goal):
        self.size, self.horizon, self.goal = size, horizon, tuple(goal)

    def start(self, cell):
        self.row, self.column = cell
        self.time = 0

    def step(self, action):
        """(next cell, reward, whether the horizon was reached)."""
        name = _NAMES[action]
        if name == "down" and self.row < self.size - 1:
            self.row += 1
        elif name == "up" and self.row > 0:
            self.row -= 1
        elif name == "right" and self.column < self.size - 1:
            self.column += 1
        elif name == "left" and self.column > 0:
            self.column -= 1
        self.time += 1
        cell = (self.row, self.column)
        return cell, float(cell == self.goal), self.time == self.horizon


@pytest.mark.parametrize(
    ("size", "horizon", "start"),
    [
        (9, 20, "center"),
        (9, 20, "random"),
        (4, 1, "center"),
        (1, 3, "corner"),
    ],
)
def test_lockstep_with_the_oracle(size, horizon, start):
    env = DarkRoom(size, horizon, start)
    num_goals = size * size
    actions = np.random.default_rng(size).integers(5, size=(_NUM_STEPS, num_goals))

    keys = random_keys((_NUM_STEPS + 1, num_goals))
    first_obs, timesteps = jax.device_get(jax.jit(lambda k: play(env, k, actions))(keys))
    chex.assert_shape([timesteps.obs, timesteps.next_obs], (_NUM_STEPS, num_goals, 2))
    chex.assert_shape(timesteps.reward, (_NUM_STEPS, num_goals))
    chex.assert_type([timesteps.obs, timesteps.reward], [jnp.int32, jnp.float32])
    assert not timesteps.terminated.any()

    fixed = {"center": (size // 2, size // 2), "corner": (0, 0)}.get(start)
    for g in range(num_goals):
        oracle = OracleRoom(size, horizon, divmod(g, size))
        first = tuple(first_obs[g].tolist())
        assert first == (fixed or first)
        oracle.start(first)
        for t in range(_NUM_STEPS):
            cell, reward, truncated = oracle.step(actions[t, g])
            where = f"goal {g}, step {t}"
            assert tuple(timesteps.next_obs[t, g]) == cell, where
            assert timesteps.reward[t, g] == reward, where
            assert timesteps.truncated[t, g] == truncated, where
            seen = tuple(timesteps.obs[t, g].tolist())
            if truncated:
                assert seen == (fixed or seen), where
                oracle.start(seen)
            else:
                assert seen == cell, where
    assert timesteps.truncated.sum() == num_goals * (_NUM_STEPS // horizon)


def test_final_observation_is_not_the_next_start():
    env = DarkRoom(5, 2)
    state, obs = protocol.reset(env, jax.random.key(0), jnp.array([0, 2]))
    np.testing.assert_array_equal(obs, [2, 2])
    up = jnp.array(1)
    for _ in range(2):
        timestep = protocol.step(env, jax.random.key(0), state, up, jnp.array([0, 2]))
        state = timestep.state
    np.testing.assert_array_equal(timestep.next_obs, [0, 2])
    np.testing.assert_array_equal(timestep.obs, [2, 2])
    assert timestep.reward == 1
    assert timestep.truncated
    assert not timestep.terminated


def test_every_cell_is_a_task_once():
    tasks = np.asarray(tasks_of(DarkRoom(9)))
    chex.assert_shape(tasks, (81, 2))
    assert {tuple(t) for t in tasks.tolist()} == {(r, c) for r in range(9) for c in range(9)}


@pytest.mark.parametrize("size", [1, 5])
def test_tabular_model_agrees_with_every_step(size):
    env = DarkRoom(size)
    num_states = size * size
    tables = jax.vmap(env.tabular)(tasks_of(env))
    chex.assert_shape(tables.next_state, (num_states, num_states, 5, 1))
    chex.assert_shape(tables.reward, (num_states, num_states, 5))
    cells, actions = tasks_of(env), jnp.arange(5)  # Tasks are cells too.
    over_actions = jax.vmap(partial(env.step, jax.random.key(0)), (None, 0, None))
    over_cells = jax.vmap(over_actions, (0, None, None))
    over_tasks = jax.jit(jax.vmap(over_cells, (None, None, 0)))
    after, _, reward, _ = over_tasks(cells, actions, cells)
    np.testing.assert_array_equal(tables.next_state[..., 0], env.state_index(after))
    np.testing.assert_array_equal(tables.reward, reward)


def test_state_index_numbers_the_cells_in_order():
    env = DarkRoom(7)
    np.testing.assert_array_equal(env.state_index(tasks_of(env)), np.arange(49))
    chex.assert_shape(env.state_index(jnp.zeros((2, 3, 2), int)), (2, 3))


@pytest.mark.parametrize(("start", "index"), [("center", 12), ("corner", 0)])
def test_fixed_start_is_certain(start, index):
    initial = DarkRoom(5, start=start).tabular(jnp.array([1, 1])).initial
    np.testing.assert_array_equal(initial, np.eye(25)[index])


def test_random_start_is_uniform():
    env = DarkRoom(5, start="random")
    task = jnp.array([1, 1])
    np.testing.assert_allclose(env.tabular(task).initial, np.full(25, 1 / 25), rtol=1e-6)
    reset = jax.jit(jax.vmap(lambda key: env.state_index(env.reset(key, task)[0])))
    cells = reset(random_keys(5000))
    counts = np.bincount(np.asarray(cells), minlength=25)
    assert len(counts) == 25
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
