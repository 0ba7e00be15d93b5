"""One smoke test over every registered environment."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import EnvConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs import REGISTRY, make_env
from tests.builders import play, random_keys


@pytest.mark.parametrize("name", REGISTRY)
def test_environment_keeps_the_protocol(name):
    env = make_env(EnvConfig(name=name, grid_size=4, horizon=6, start="random"))
    spec, num_steps = env.spec, 20
    num_coordinates, num_tasks = len(spec.obs_sizes), len(env.tasks)
    num_states = int(np.prod(spec.obs_sizes))
    assert spec.horizon == 6
    assert list(spec.reward_levels) == sorted(set(spec.reward_levels))

    actions = np.random.default_rng(0).integers(spec.num_actions, size=(num_steps, num_tasks))

    @jax.jit
    def run(keys):
        first, timesteps = play(env, keys, actions)
        seen = jnp.concatenate([first[None], timesteps.obs])
        indices = env.state_index(seen), env.state_index(timesteps.next_obs)
        return seen, timesteps, indices, jax.vmap(env.tabular)(env.tasks)

    keys = random_keys((num_steps + 1, num_tasks))
    seen, timesteps, (here, there), tables = jax.device_get(run(keys))
    leading = (num_steps, num_tasks)
    chex.assert_shape(seen, (num_steps + 1, num_tasks, num_coordinates))
    chex.assert_shape(timesteps.next_obs, (*leading, num_coordinates))
    chex.assert_shape([timesteps.reward, timesteps.terminated, timesteps.truncated], leading)
    chex.assert_type(
        [env.tasks, seen, timesteps.reward, timesteps.terminated], [int, int, float, bool]
    )
    for obs in (seen, timesteps.next_obs):
        assert ((obs >= 0) & (obs < np.array(spec.obs_sizes))).all()
    assert set(np.unique(timesteps.reward)) <= set(spec.reward_levels)
    assert timesteps.truncated.any()

    chex.assert_shape([tables.next_state, tables.reward], (num_tasks, num_states, spec.num_actions))
    chex.assert_shape(tables.initial, (num_tasks, num_states))
    np.testing.assert_allclose(tables.initial.sum(-1), 1, rtol=1e-5)
    assert set(np.unique(tables.reward)) <= set(spec.reward_levels)
    task = np.arange(num_tasks)
    np.testing.assert_array_equal(tables.next_state[task, here[:-1], actions], there)
    np.testing.assert_array_equal(tables.reward[task, here[:-1], actions], timesteps.reward)
    assert (tables.initial[task, here[0]] > 0).all()


def test_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"env\.name='maze': known are .*dark_room"):
        make_env(EnvConfig(name="maze"))


def test_settings_reach_the_environment():
    env = make_env(EnvConfig(grid_size=3, horizon=4, start="corner"))
    assert (env.spec.obs_sizes, env.spec.horizon) == ((3, 3), 4)
    np.testing.assert_array_equal(env.reset(jax.random.key(0), env.tasks[8]), [0, 0])
