"""Which programs play the episodes of an evaluation."""

import jax
import numpy as np
import pytest

from compad_jax import in_context
from compad_jax.envs import make_env
from compad_jax.models import Policy, make_policy
from compad_jax.programs import load_or_compile
from tests.builders import make_model, override


@pytest.fixture
def loads(monkeypatch):
    """Names and settings of all programs that were asked for."""
    asked = []

    def load(name, function, *args, settings):
        asked.append((name, settings))
        return load_or_compile(name, function, *args, settings=settings)

    monkeypatch.setattr(in_context, "load_or_compile", load)
    return asked


def test_programs_are_loaded_once_and_play_the_same_again(debug_config, loads):
    config = override(debug_config, eval={"num_seeds": 2, "chunk_episodes": 2})
    policy, params = make_model(config)
    env = make_env(config.env)
    play = in_context.make_episodes(config, policy, env, env.tasks[:3], 3)
    returns, speed = play(params)
    assert returns.shape == (2, 3, 3, 2)
    assert len(speed.num_compressions) == 3
    np.testing.assert_array_equal(play(params)[0], returns)
    assert [name for name, _ in loads] == ["rollout_start", "rollout"]
    # Another call of the same kind finds them on disk.
    again = in_context.make_episodes(config, policy, env, env.tasks[:3], 3)
    np.testing.assert_array_equal(again(params)[0], returns)
    assert loads[2:] == loads[:2]


def test_an_experiments_own_policy_is_not_taken_for_the_policy(debug_config):
    class Other(Policy):
        """As `Policy`."""

    policy = make_policy(debug_config, make_env(debug_config.env).spec)
    fields = {name: getattr(policy, name) for name in ("config", "spec", "window", "dtype")}
    other = Other(**fields, compress_length=policy.compress_length)
    assert in_context._settings(debug_config, other, 2) is None
    settings = in_context._settings(debug_config, policy, 2)
    assert settings is not None
    assert settings != in_context._settings(debug_config, policy, 3)
    longer = override(debug_config, env={"horizon": 21})
    assert settings != in_context._settings(longer, policy, 2)
    more = override(debug_config, eval={"num_episodes": 999}, train={"seed": 5})
    assert settings == in_context._settings(more, policy, 2)


def test_all_rollouts_are_planned_in_the_order_of_the_returns(debug_config):
    tasks = make_env(debug_config.env).tasks[3:6]
    planned = in_context._plan_rollouts(tasks, (2, 3, 4), seed=0)
    all_tasks, keys, greedy = (
        np.asarray(x) for x in (planned[0], jax.random.key_data(planned[1]), planned[2])
    )
    np.testing.assert_array_equal(all_tasks.reshape(2, 3, 4, 2)[1, :, 2], tasks)
    assert len(np.unique(keys, axis=0)) == 24
    np.testing.assert_array_equal(greedy.reshape(2, 12), np.repeat([[True], [False]], 12, 1))
