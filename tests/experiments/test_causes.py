"""Interventions on memories: by hand, and against a rollout that nobody disturbs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.envs import make_env
from compad_jax.evaluation.rollout import make_rollout
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.run_directory import claim_workdir
from experiments import causes
from tests.builders import make_model, override, tasks_of

_ROOM = {"reward": "first_visit", "grid_size": 3, "horizon": 15, "wait": 40}
_SHAPE = (2, 9, 2)


@pytest.fixture
def config(debug_config):
    return override(debug_config, env=_ROOM, model={"memory_update": "slot_gate"})


def test_a_swap_hands_memories_on_to_the_task_before():
    memory = {"x": jnp.arange(2 * 3 * 2)[:, None]}
    swapped = np.asarray(causes.swap(memory, (2, 3, 2))["x"]).ravel()
    np.testing.assert_array_equal(swapped, [2, 3, 4, 5, 0, 1, 8, 9, 10, 11, 6, 7])


def test_events_are_dated_by_the_steps_that_count():
    counted = np.array([[0, 1, 1, 1], [1, 1, 0, 0]], bool).T
    event = np.array([[1, 0, 1, 1], [0, 0, 1, 1]], bool).T
    np.testing.assert_array_equal(causes._first_step(counted, event), [2, 0])


def test_summary_by_hand():
    """Of three tasks the last was never found; its neighbours cannot be judged by a swap."""
    first = np.full((2, 3, 2), 9)
    first[:, 2] = 0
    own, other = np.full((2, 3, 2), 4), np.zeros((2, 3, 2), int)
    own[0, 0] = [6, 7]
    other[0, 0] = [3, 9]
    found = {"swapped": causes.Visits(own, other)}
    rows = causes.summarise(first, found, np.array([4, 2, 2]))["greedy"]
    assert rows["first episode"]["own"]["share"] == 0
    assert rows["swapped"]["own"] == {"share": 0.5, "ci95": [0, 1], "rollouts": 2}
    assert rows["swapped"]["other"]["share"] == 0.5  # Three steps of two; nine are too many.
    assert rows["swapped"]["found"]["share"] == 1


@pytest.mark.slow
def test_a_memory_left_alone_leads_where_an_undisturbed_rollout_goes(config):
    policy, params = make_model(config)
    env = make_env(config.env)
    tasks = tasks_of(env)
    first, found = causes.watch(policy, params, env, tasks, _SHAPE, 0.1)
    state = causes._start(policy, params, env, tasks, _SHAPE)
    plain = make_rollout(policy, env, smoothing=0.1, num_steps=70)(params, state)
    steps = np.asarray(plain.tally.episodes.wait.steps_to_reward).reshape(*_SHAPE, 2)
    np.testing.assert_array_equal(first, steps[..., 0])
    knows = first > 0
    assert knows.any()
    np.testing.assert_array_equal(found["left alone"].own[knows], steps[..., 1][knows])
    assert (found["swapped"].own != found["left alone"].own).any()


@pytest.mark.slow
def test_a_frozen_memory_stays_and_the_parameters_are_the_same(config):
    policy, params = make_model(config)
    env = make_env(config.env)
    state = causes._start(policy, params, env, tasks_of(env), _SHAPE)
    state = make_rollout(policy, env, smoothing=0.1, num_steps=25)(params, state)
    before = np.asarray(jax.tree.leaves(state.acting.window.memory)[0])
    for acting, stays in ((causes.freeze(policy), True), (policy, False)):
        copy = jax.tree.map(jnp.copy, state)
        after = make_rollout(acting, env, smoothing=0.1, num_steps=25)(params, copy)
        assert int(after.acting.window.num_compressions) > 3
        now = np.asarray(jax.tree.leaves(after.acting.window.memory)[0])
        assert (now == before).all() == stays


def test_agents_that_cannot_be_examined_are_refused(config, tmp_path):
    config = override(config, source={"name": "staged_search"})
    run = str(tmp_path / "run")
    claim_workdir(config, run)
    with Checkpoints(run) as checkpoints:
        step = config.train.train_timesteps
        checkpoints.save(step, make_model(config)[1], {"step": step}, 0.0)
    with pytest.raises(ConfigError, match=r"--wait 20: .* more than 30"):
        causes.examine(run, 20, "held_out")
