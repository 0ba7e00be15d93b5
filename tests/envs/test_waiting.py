"""Waits after the last reward, in lockstep with an oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.envs import protocol
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.tabular import all_fewest_steps, optimal_returns, random_returns
from compad_jax.envs.waiting import Waiting, Waits
from tests.builders import play, random_keys, tasks_of


@pytest.mark.parametrize(
    ("num_goals", "wait", "max_wait"), [(1, 7, 0), (1, 0, 9), (2, 3, 9), (1, -1, 12)]
)
def test_lockstep_with_the_oracle(num_goals, wait, max_wait):
    """An episode: at most 15 steps until all goals are reached, then the wait, no reward in it."""
    env = Waiting(DarkGoals(3, 15, num_goals=num_goals), Waits(wait, max_wait))
    num_steps, num_tasks = 600, 9
    tasks = tasks_of(env)[:num_tasks]
    actions = np.random.default_rng(0).integers(5, size=(num_steps, num_tasks))
    keys = random_keys((num_steps + 1, num_tasks))
    first, steps = jax.device_get(jax.jit(lambda k: play(env, k, actions, tasks))(keys))
    own_actions, waits, in_vain = [], [], 0
    for g in range(num_tasks):
        time, earned, waited = 0, 0, 0
        cell = tuple(first[g])
        for t in range(num_steps):
            is_wait = earned == num_goals
            assert steps.distracted[t, g] == is_wait
            action = steps.action[t, g]
            if is_wait:
                own_actions.append(action)
                waited += 1
            else:
                assert action == actions[t, g]
                time += 1
            delta = [(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)][action]
            cell = tuple(np.clip(np.add(cell, delta), 0, 2))
            assert tuple(steps.next_obs[t, g]) == cell
            pays = not is_wait and cell == tuple(tasks[g][earned])
            assert steps.reward[t, g] == pays
            earned += pays
            if earned < num_goals:
                assert steps.done[t, g] == (time == 15)
                in_vain += time == 15
            elif wait >= 0:
                assert steps.done[t, g] == (waited == wait)
            if steps.done[t, g]:
                waits += [waited] if earned == num_goals else []
                time, earned, waited, cell = 0, 0, 0, (1, 1)
                assert tuple(steps.obs[t, g]) == cell
    assert in_vain
    assert min(waits) == max(waits) == wait if wait >= 0 else set(waits) == set(range(13))
    if wait:
        shares = np.bincount(own_actions, minlength=5) / len(own_actions)
        assert abs(shares - 0.2).max() < 5 * (0.16 / len(own_actions)) ** 0.5


@pytest.mark.parametrize("ratio", [0.0, 0.6])
def test_waits_are_log_uniform(ratio):
    waits = np.asarray(jax.jit(jax.vmap(Waits(-1, 300, ratio).draw))(random_keys(20_000)))
    assert (waits.min(), waits.max()) == (0, 300)
    # Where there is one, floor(exp(u)) <= n + 1 for u uniform in [0, log 302).
    for n in (0, 1, 5, 30, 200):
        expected = ratio + (1 - ratio) * np.log(n + 2) / np.log(302)
        assert abs((waits <= n).mean() - expected) < 0.015


def test_a_wait_changes_no_return_and_no_way():
    plain = DarkGoals(4, 11)
    waiting = Waiting(plain, Waits(5))
    tasks = tasks_of(plain)
    for known in (optimal_returns, random_returns, all_fewest_steps):
        np.testing.assert_array_equal(known(plain, tasks), known(waiting, tasks))


def test_what_teachers_ask_for_is_that_of_the_room():
    plain = DarkGoals(4, 11)
    waiting = Waiting(plain, Waits(5))
    assert isinstance(waiting, protocol.MappedEnv)
    assert not isinstance(waiting, protocol.TabularEnv)  # Its states are not those of the room.
    assert waiting.num_stages == 2
    np.testing.assert_array_equal(waiting.next_places(), plain.next_places())
    state, _ = waiting.reset(jax.random.key(0), jnp.zeros((2, 2), int))
    assert waiting.place(state) == plain.place(state.inner) == 10
