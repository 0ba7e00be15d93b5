"""What would have been best in a history, against an oracle that walks on the grid."""

import jax
import numpy as np
import pytest

from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.dark_room_permuted import DarkRoomPermuted
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.envs.protocol import GuidedEnv, make_tasks
from compad_jax.envs.waiting import Waiting, Waits
from compad_jax.types import Transition
from tests.builders import play, random_keys

_STEPS, _TASKS = 150, 12
_MOVES = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)])


def _play(env):
    """Histories [G, T] of random actions, their tasks and the optimal policy in them."""
    assert isinstance(env, GuidedEnv)
    rng = np.random.default_rng(0)
    tasks = make_tasks(env, rng.integers(env.num_tasks, size=_TASKS))
    actions = rng.integers(env.spec.num_actions, size=(_STEPS, _TASKS))
    keys = random_keys((_STEPS + 1, _TASKS))
    first, steps = jax.jit(lambda k: play(env, k, actions, tasks))(keys)
    obs = np.concatenate([first[None], steps.obs[:-1]])
    fields = (obs, steps.action, steps.reward, steps.next_obs, steps.done)
    histories = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), Transition(*fields))
    probabilities = jax.jit(jax.vmap(env.optimal_actions))(histories, tasks)
    return histories, np.asarray(tasks), np.asarray(probabilities)


def _ways(cell, goal, size, moves=_MOVES):
    """Probabilities of the actions that come nearest to a goal; none left: all."""
    if goal is None:
        return np.full(5, 0.2)
    after = np.clip(cell + moves, 0, size - 1)
    distance = np.abs(after - goal).sum(-1)
    best = distance == distance.min()
    return best / best.sum()


@pytest.mark.parametrize("permuted", [False, True])
def test_where_one_goal_pays_again_and_again(permuted):
    env = DarkRoomPermuted(4, 11) if permuted else DarkRoom(4, 11)
    histories, tasks, probabilities = _play(env)
    for g, t in np.ndindex(_TASKS, _STEPS):
        goal = (3, 3) if permuted else tasks[g]
        moves = _MOVES[tasks[g]] if permuted else _MOVES
        expected = _ways(histories.obs[g, t], goal, 4, moves)
        np.testing.assert_allclose(probabilities[g, t], expected, atol=1e-6)


@pytest.mark.parametrize("num_goals", [1, 2])
def test_goals_in_their_order_and_none_while_waiting(num_goals):
    env = Waiting(DarkGoals(3, 15, num_goals=num_goals), Waits(4))
    histories, tasks, probabilities = _play(env)
    waited = 0
    for g in range(_TASKS):
        stage = 0
        for t in range(_STEPS):
            goal = tasks[g][stage] if stage < num_goals else None
            expected = _ways(histories.obs[g, t], goal, 3)
            np.testing.assert_allclose(probabilities[g, t], expected, atol=1e-6)
            stage = 0 if histories.done[g, t] else stage + int(histories.reward[g, t])
            waited += goal is None
    assert waited > 50


def test_the_best_arm_and_none_while_waiting():
    histories, tasks, probabilities = _play(DelayedBandit(4, num_pulls=5, waits=Waits(3)))
    waits = histories.obs[..., 0] == 1
    assert 0 < waits.mean() < 0.5
    np.testing.assert_array_equal(probabilities[waits], 0.25)
    best = np.broadcast_to(np.eye(4)[tasks.argmax(-1)][:, None], probabilities.shape)
    np.testing.assert_array_equal(probabilities[~waits], best[~waits])
