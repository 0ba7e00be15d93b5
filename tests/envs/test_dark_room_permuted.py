"""The room with permuted actions, against the plain one."""

import itertools

import jax
import numpy as np

from compad_jax.envs.dark_room_permuted import DarkRoomPermuted
from compad_jax.envs.tabular import optimal_returns
from tests.builders import play, random_keys, tasks_of

_DELTAS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)])


def test_every_order_of_the_actions_is_a_task_once():
    tasks = np.asarray(tasks_of(DarkRoomPermuted()))
    assert sorted(map(tuple, tasks.tolist())) == list(itertools.permutations(range(5)))


def test_lockstep_with_the_oracle():
    env, num_steps = DarkRoomPermuted(4, 12), 100
    tasks = np.asarray(tasks_of(env))
    actions = np.random.default_rng(0).integers(5, size=(num_steps, 120))
    _, steps = jax.device_get(
        jax.jit(lambda k: play(env, k, actions))(random_keys((num_steps + 1, 120)))
    )
    cell, earned = np.zeros((120, 2), int), 0
    for t in range(num_steps):
        cell = np.clip(cell + _DELTAS[tasks[np.arange(120), actions[t]]], 0, 3)
        np.testing.assert_array_equal(steps.next_obs[t], cell)
        np.testing.assert_array_equal(steps.reward[t], (cell == 3).all(-1))
        earned += steps.reward[t].sum()
        assert steps.done[t].all() == steps.done[t].any() == ((t + 1) % 12 == 0)
        cell = np.where(steps.done[t][:, None], 0, cell)
    assert earned > 10


def test_the_optimum_knows_the_order():
    """Sixteen steps to the far corner of the published room, which then pays till the end."""
    np.testing.assert_array_equal(
        optimal_returns(DarkRoomPermuted(), tasks_of(DarkRoomPermuted())), 35
    )
