"""Read-outs of memories: the regression, what is said of a life, and the changes of slots."""

import jax
import numpy as np
import pytest

from compad_jax.envs import make_env
from compad_jax.evaluation.rollout import make_rollout
from experiments import readouts
from tests.builders import make_model, override, tasks_of


def test_ridge_finds_a_linear_map_and_shrinks_to_the_mean():
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(200, 6)) * [1, 2, 3, 4, 5, 0], rng.normal(size=(6, 2))
    y = x @ truth + [3, -1]
    weights, constant = readouts.fit_ridge(x, y, 1e-9)
    np.testing.assert_allclose(x @ weights + constant, y, atol=1e-6)
    weights, constant = readouts.fit_ridge(x, y, 1e9)
    np.testing.assert_allclose(
        x @ weights + constant, np.broadcast_to(y.mean(0), y.shape), atol=1e-5
    )


def _lives(memory, **more):
    facts = dict.fromkeys(("goal", "found", "visited", "waits", "rewards"))
    return readouts.Lives(memory=memory, **(facts | more))


def test_changes_of_slots_by_hand():
    memory = np.zeros((3, 1, 2, 2))
    memory[:, 0, 0] = [[3, 4], [3, 4], [6, 8]]
    memory[:, 0, 1] = [[0, 2], [0, 1], [0, 1]]
    np.testing.assert_allclose(readouts.changes(_lives(memory))[:, 0], [[0, 0.5], [1, 0]])


def test_a_goal_is_read_from_a_memory_that_holds_it_and_from_no_other():
    rng = np.random.default_rng(0)
    goal = rng.integers(9, size=(400, 2))
    is_train = np.arange(400) < 300
    holds = np.concatenate([goal, rng.normal(size=(400, 2))], 1).reshape(1, 400, 2, 2)
    noise = rng.normal(size=(1, 400, 2, 2))
    found = np.ones((1, 400), bool)
    right = readouts.read_goal(_lives(holds, goal=goal, found=found), is_train, 0)
    assert right["lives"] == 100
    assert right["exact"] > 0.95
    wrong = readouts.read_goal(_lives(noise, goal=goal, found=found), is_train, 0)
    assert wrong["exact"] < 0.1
    assert readouts.read_goal(_lives(holds, goal=goal, found=~found), is_train, 0) is None
    visited = rng.random((1, 400, 4)) < 0.3
    told = readouts.read_visited(
        _lives(visited.reshape(1, 400, 2, 2) * 1.0, visited=visited), is_train, 0
    )
    assert told["balanced"] > 0.95
    blind = readouts.read_visited(_lives(noise, visited=visited), is_train, 0)
    assert abs(blind["balanced"] - 0.5) < 0.1


@pytest.mark.timeout(120)
def test_lives_are_those_of_a_rollout(debug_config, monkeypatch):
    monkeypatch.setattr(readouts, "_NUM_COMPRESSIONS", 5)
    room = {"reward": "first_visit", "grid_size": 3, "horizon": 15, "wait": 30}
    config = override(debug_config, env=room, model={"memory_update": "slot_gate"})
    policy, params = make_model(config)
    env = make_env(config.env)
    tasks = np.asarray(tasks_of(env))
    lives = readouts.live(policy, params, env, tasks, 0.1)
    length = policy.compress_length
    assert lives.memory.shape[:2] == (5, 9)
    assert lives.visited.shape == (5, 9, 9)
    assert (np.diff(lives.visited.sum(-1), axis=0) >= 0).all()
    assert (np.diff(lives.found.astype(int), axis=0) >= 0).all()
    assert lives.found.any() and not lives.found.all()
    keys = jax.random.split(jax.random.key(0), 9)
    state = readouts.init_rollout(
        policy, params, env, tasks, keys, np.zeros(9, bool), num_episodes=1
    )
    state = make_rollout(policy, env, smoothing=0.1, num_steps=3 * length)(params, state)
    assert int(state.acting.window.num_compressions) == 2
    memory = jax.tree.leaves(state.acting.window.memory)[0]
    np.testing.assert_allclose(lives.memory[1], memory, atol=1e-5)
    # What was compressed are 2 * length tokens; the last of them tells of the step before.
    steps = np.asarray(state.tally.wait.steps_to_reward)[:, 0]
    ended = np.asarray(state.tally.lengths)[:, 0]
    known = (steps > 0) & (ended > 2 * length)  # The first episode told it, or not yet.
    assert known.any()
    np.testing.assert_array_equal(lives.found[1][known], steps[known] < 2 * length)
