"""Dark Key-to-Door in lockstep with an independent oracle; its tables; its optimum."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.envs import protocol
from compad_jax.envs.dark_key_to_door import DarkKeyToDoor, KeyToDoorState
from compad_jax.envs.tabular import optimal_returns
from tests.builders import play, random_keys, tasks_of

_DELTAS = {0: (1, 0), 1: (-1, 0), 2: (0, 1), 3: (0, -1), 4: (0, 0)}


class OracleRoom:
    """One room in plain Python; written from the description, not from the code."""

    def __init__(self, size, horizon, key, door):
        self.size, self.horizon, self.key, self.door = size, horizon, key, door

    def start(self, cell):
        self.cell, self.time, self.has_key, self.is_open = cell, 0, False, False

    def step(self, action):
        """(cell, reward, whether the horizon was reached)."""
        cell = tuple(c + d for c, d in zip(self.cell, _DELTAS[action], strict=True))
        if all(0 <= c < self.size for c in cell):
            self.cell = cell
        self.time += 1
        reward = 0.0
        if not self.has_key:
            if self.cell == self.key:
                self.has_key, reward = True, 1.0
        elif not self.is_open and self.cell == self.door:
            self.is_open, reward = True, 1.0
        return self.cell, reward, self.time == self.horizon


@pytest.mark.parametrize(
    ("size", "horizon", "start"), [(3, 17, "center"), (2, 9, "random"), (3, 25, "corner")]
)
def test_lockstep_with_the_oracle(size, horizon, start):
    env, num_steps, num_tasks = DarkKeyToDoor(size, horizon, start), 120, size**4
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
        digits = np.unravel_index(g, (size,) * 4)
        oracle = OracleRoom(size, horizon, tuple(digits[:2]), tuple(digits[2:]))
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
    assert most == 2  # Both rewards were seen, and none beyond them.


def test_every_pair_of_cells_is_a_task_once():
    tasks = np.asarray(tasks_of(DarkKeyToDoor(9)))
    chex.assert_shape(tasks, (6561, 2, 2))
    assert len(np.unique(tasks.reshape(-1, 4), axis=0)) == 6561
    assert (tasks.min(), tasks.max()) == (0, 8)


def test_tabular_model_agrees_with_every_step():
    size, num_tasks = 3, 81
    env = DarkKeyToDoor(size)
    tables = jax.vmap(env.tabular)(tasks_of(env))
    chex.assert_shape(tables.next_state, (num_tasks, 27, 5, 1))
    cells = np.indices((size, size)).reshape(2, -1).T
    states = KeyToDoorState(jnp.asarray(np.tile(cells, (3, 1))), jnp.arange(3).repeat(9))
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
    env = DarkKeyToDoor()
    tasks = protocol.make_tasks(env, np.arange(0, 6561, 41))
    np.testing.assert_array_equal(optimal_returns(env, tasks), 2.0)


def test_optimum_of_short_episodes_counts_the_steps():
    """Entering the key's cell takes a step at least, and so does entering the door's after it."""
    env = DarkKeyToDoor(grid_size=5, horizon=4)
    tasks = np.asarray(tasks_of(env))
    to_key = np.maximum(np.abs(tasks[:, 0] - 2).sum(-1), 1)
    to_door = np.maximum(np.abs(tasks[:, 1] - tasks[:, 0]).sum(-1), 1)
    expected = (to_key <= 4) * 1.0 + (to_key + to_door <= 4)
    np.testing.assert_array_equal(optimal_returns(env, tasks), expected)


def test_map_and_place_are_those_of_the_cells():
    env = DarkKeyToDoor(grid_size=4)
    state = KeyToDoorState(jnp.array([2, 3]), jnp.array(1))
    assert env.place(state) == 11
    np.testing.assert_array_equal(env.next_places()[11], [15, 7, 11, 10, 11])
