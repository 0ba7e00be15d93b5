"""Episodes of a frozen policy, as an evaluation plays them."""

import jax
import numpy as np

from compad_jax.envs import make_env
from compad_jax.evaluation import episodes
from tests.builders import make_model, override, tasks_of


def test_programs_are_compiled_once_and_play_the_same_again(debug_config):
    config = override(debug_config, eval={"num_seeds": 2, "chunk_episodes": 2})
    policy, params = make_model(config)
    env = make_env(config.env)
    play = episodes.make_episodes(config, policy, env, tasks_of(env)[:3], 3)
    played = play(params)
    assert played.returns.shape == (2, 3, 3, 2)
    np.testing.assert_array_equal(played.lengths, np.full((2, 3, 3, 2), 10))
    assert (played.num_compressions == [[[[0]], [[1]], [[2]]]] * 2).all()  # Windows of 12, by 10.
    again = play(params)
    np.testing.assert_array_equal(again.returns, played.returns)


def test_all_rollouts_are_planned_in_the_order_of_the_returns(debug_config):
    tasks = tasks_of(make_env(debug_config.env))[3:6]
    planned = episodes.plan_rollouts(tasks, (2, 3, 4), seed=0)
    all_tasks, keys, greedy = (
        np.asarray(x) for x in (planned[0], jax.random.key_data(planned[1]), planned[2])
    )
    np.testing.assert_array_equal(all_tasks.reshape(2, 3, 4, 2)[1, :, 2], tasks)
    assert len(np.unique(keys, axis=0)) == 24
    np.testing.assert_array_equal(greedy.reshape(2, 12), np.repeat([[True], [False]], 12, 1))
