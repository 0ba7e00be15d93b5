"""PPO that is told the state: it acts on what students must remember, and does not show it."""

import chex
import jax
import numpy as np
import pytest

from compad_jax.config import PpoConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.show_state import ShowState
from compad_jax.sources.ppo import make_ppo
from tests.builders import play, random_keys, tasks_of

_ENV = DarkGoals(3, 12, num_goals=2)
_STREAMS, _ROLLOUT = 8, 24


def _learn(sees, num_steps=240):
    """Histories of the task with the key in a corner and the door in the opposite one."""
    config = PpoConfig(rollout_length=_ROLLOUT, batch_size=64, num_epochs=12, lr=1e-2, sees=sees)
    source = jax.jit(make_ppo(_ENV, config, num_streams=_STREAMS, num_steps=num_steps))
    return jax.device_get(source(jax.random.key(0), np.array([[0, 0], [2, 2]])))


def _stages(transition):
    """Goals reached before each step, by hand: int [R, T]."""
    stages = np.zeros(transition.done.shape, int)
    for r, t in np.ndindex(*stages[:, 1:].shape):
        reached = stages[r, t] + int(transition.reward[r, t])
        stages[r, t + 1] = 0 if transition.done[r, t] else reached
    return stages


def test_the_state_is_shown_at_every_step():
    env = ShowState(_ENV)
    assert env.spec.obs_space.sizes == (3, 3, 3)
    actions = np.random.default_rng(0).integers(5, size=(200, 9))
    tasks = tasks_of(_ENV)[::9]
    keys = random_keys((201, 9))
    shown = play(env, keys, actions, tasks)[1]
    plain = play(_ENV, keys, actions, tasks)[1]
    np.testing.assert_array_equal(shown.obs[..., :2], plain.obs)
    np.testing.assert_array_equal(shown.reward, plain.reward)
    transition = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), plain)
    now = np.swapaxes(shown.obs[..., 2], 0, 1)  # After each step.
    np.testing.assert_array_equal(now[:, :-1], _stages(transition)[:, 1:])
    assert shown.next_obs[..., 2].max() == 2


@pytest.mark.parametrize(("sees", "differs"), [("state", True), ("observation", False)])
def test_whether_the_stage_decides(sees, differs):
    """Within a rollout the policy stays: what it does in a cell may differ by the stage only."""
    history = _learn(sees)
    chex.assert_shape(history.transition.obs, (_STREAMS, 240, 2))
    last = slice(240 - _ROLLOUT, 240)
    stages = _stages(history.transition)[:, last]
    cells = history.transition.obs[:, last] @ np.array([3, 1])
    probabilities = np.exp(history.log_probs[:, last])
    spread = [
        np.ptp(probabilities[cells == cell], axis=0).max()
        for cell in range(9)
        if len(np.unique(stages[cells == cell])) > 1
    ]
    assert spread
    assert max(spread) > 0.1 if differs else max(spread) < 1e-5


def test_an_environment_that_hides_nothing_is_refused():
    with pytest.raises(ConfigError, match="sees='state': needs an environment that hides"):
        make_ppo(DarkRoom(), PpoConfig(sees="state"), num_streams=4, num_steps=90)
