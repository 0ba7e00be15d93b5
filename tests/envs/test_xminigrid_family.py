"""Families out of XLand-MiniGrid: in lockstep with the package itself."""

import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xminigrid

from compad_jax.config import ConfigError
from compad_jax.config.command_line import load_config
from compad_jax.envs import protocol
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.xminigrid_family import make_xminigrid_family
from compad_jax.histories.collection import collect
from compad_jax.models.tokens import obs_features
from tests.builders import override, random_keys

_EMPTY = "MiniGrid-Empty-5x5"


@pytest.fixture(scope="module")
def family():
    return make_xminigrid_family("MiniGrid-FourRooms", view_size=5, max_steps=40)


def test_in_lockstep_with_the_package(family):
    env, params = xminigrid.make("MiniGrid-FourRooms", view_size=5, max_steps=40)
    task, key = jnp.asarray(3), jax.random.key(0)
    state, obs = jax.jit(family.reset)(key, task)
    own_key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), 3)
    expected = jax.jit(env.reset)(params, jax.random.key_data(own_key))
    step, package_step = jax.jit(family.step), jax.jit(env.step)
    for action in np.random.default_rng(0).integers(6, size=60):
        np.testing.assert_array_equal(obs, np.ravel(expected.observation))
        state, obs, reward, terminated = step(key, state, action, task)
        expected = package_step(params, expected, action)
        assert reward == expected.reward
        assert terminated == (expected.last() and expected.discount == 0)
    assert family.spec.horizon == 40
    assert obs.shape == (family.spec.obs_size,) == (50,)


def test_a_task_is_a_layout(family):
    tasks = make_tasks(family, np.arange(6))
    reset = jax.jit(jax.vmap(jax.vmap(family.reset, (0, None)), (None, 0)))
    state, _ = reset(random_keys((2,)), tasks)
    grids = np.asarray(state.state.grid)
    assert (grids[:, 0] == grids[:, 1]).all()
    assert (grids[:1, 0] != grids[1:, 0]).any()


def test_a_goal_ends_an_episode_and_a_limit_cuts_it_off():
    """In an empty room: turn and walk along two walls, or stand still."""
    family = make_xminigrid_family(_EMPTY, max_steps=15)
    task = jnp.asarray(0)
    keys = random_keys((31,))

    def play(actions):
        def act(state, key_and_action):
            timestep = protocol.step(family, *_reorder(state, key_and_action), task)
            return timestep.state, timestep

        state, _ = protocol.reset(family, keys[-1], task)
        return jax.jit(lambda a: jax.lax.scan(act, state, (keys[:-1], a))[1])(actions)

    forward, right = 0, 1
    way = [forward, forward, right, forward, forward]
    walked = play(jnp.array(way * 6))
    assert walked.terminated.sum() >= 1
    end = int(walked.terminated.argmax())
    assert walked.reward[end] > 0 and not walked.truncated[end]
    stood = play(jnp.full(30, right))
    np.testing.assert_array_equal(np.flatnonzero(stood.truncated), [14, 29])
    assert not stood.terminated.any()


def _reorder(state, key_and_action):
    key, action = key_and_action
    return key, state, action


def test_cells_are_categories(family):
    spec = family.spec
    obs = jnp.array(np.random.default_rng(0).integers(12, size=(3, 50)))
    features = obs_features(obs, spec)
    chex.assert_shape(features, (3, 50 * (features.shape[-1] // 50)))
    one_hot = np.asarray(features).reshape(3, 50, -1)[..., :13]
    np.testing.assert_array_equal(one_hot.argmax(-1), obs)
    np.testing.assert_array_equal(one_hot.sum(-1), 1)


@pytest.mark.slow
def test_histories_are_collected():
    config = load_config("configs/xminigrid_empty.py")
    ppo = {"rollout_length": 20, "batch_size": 20, "num_epochs": 1}
    source = {"num_streams": 2, "num_steps": 40, "ppo": ppo}
    config = override(config, source=source, data={"max_compression_depth": 0})
    steps = collect(config, np.arange(2)).transition
    chex.assert_shape(steps.obs, (2, 2, 40, 50))
    assert steps.obs.max() < 13 and 0 <= steps.reward.min() <= steps.reward.max() <= 1


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("MiniGrid-Nowhere", {}, "MiniGrid-Nowhere: cannot be made by xminigrid: Unregistered"),
        (_EMPTY, {"colour": 3}, f"{_EMPTY}: cannot be made by xminigrid: .*colour"),
    ],
)
def test_mistakes(name, params, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        make_xminigrid_family(name, **params)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xminigrid", None)
    with pytest.raises(ConfigError, match=rf"^{_EMPTY}: needs xminigrid: pip install"):
        make_xminigrid_family(_EMPTY)
