"""One smoke test over every registered environment."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import EnvConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs import make_env, registered_envs
from compad_jax.envs.protocol import Discrete
from tests.builders import play, random_keys, tasks_of


@pytest.mark.parametrize("name", registered_envs())
def test_environment_keeps_the_protocol(name):
    env = make_env(EnvConfig(name=name, grid_size=4, horizon=6, start="random"))
    spec, num_steps = env.spec, 20
    num_coordinates, num_tasks = spec.obs_size, env.num_tasks
    num_states = int(np.prod(spec.obs_space.sizes))
    assert spec.horizon == 6

    actions = np.random.default_rng(0).integers(spec.num_actions, size=(num_steps, num_tasks))

    @jax.jit
    def run(keys):
        first, timesteps = play(env, keys, actions)
        seen = jnp.concatenate([first[None], timesteps.obs])
        state_index = jax.vmap(jax.vmap(env.state_index))
        here = state_index(timesteps.state.env_state), state_index(timesteps.next_env_state)
        return seen, timesteps, here, jax.vmap(env.tabular)(tasks_of(env))

    keys = random_keys((num_steps + 1, num_tasks))
    seen, timesteps, (after, there), tables = jax.device_get(run(keys))
    leading = (num_steps, num_tasks)
    chex.assert_shape(seen, (num_steps + 1, num_tasks, num_coordinates))
    chex.assert_shape(timesteps.next_obs, (*leading, num_coordinates))
    chex.assert_shape([timesteps.reward, timesteps.terminated, timesteps.truncated], leading)
    chex.assert_type([seen, timesteps.reward, timesteps.terminated], [spec.obs_dtype, float, bool])
    for obs in (seen, timesteps.next_obs):
        assert ((obs >= 0) & (obs < np.array(spec.obs_space.sizes))).all()
    low, high = spec.reward_range
    assert ((timesteps.reward >= low) & (timesteps.reward <= high)).all()
    assert timesteps.truncated.any()

    chex.assert_shape(tables.reward, (num_tasks, num_states, spec.num_actions))
    chex.assert_shape(tables.initial, (num_tasks, num_states))
    np.testing.assert_allclose(tables.initial.sum(-1), 1, rtol=1e-5)
    task, now = np.arange(num_tasks), slice(1, None)
    here, acted = after[:-1], actions[now]
    np.testing.assert_array_equal(tables.next_state[task, here, acted, 0], there[now])
    np.testing.assert_array_equal(tables.reward[task, here, acted], timesteps.reward[now])
    starts = np.nonzero(timesteps.truncated)
    assert (tables.initial[starts[1], after[starts]] > 0).all()


def test_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"env\.name='maze': known are .*dark_room"):
        make_env(EnvConfig(name="maze"))


def test_settings_reach_the_environment():
    env = make_env(EnvConfig(grid_size=3, horizon=4, start="corner"))
    assert (env.spec.obs_space, env.spec.horizon) == (Discrete((3, 3)), 4)
    np.testing.assert_array_equal(env.reset(jax.random.key(0), None)[0], [0, 0])
