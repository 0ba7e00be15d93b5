"""One smoke test over every registered environment."""

import chex
import jax
import numpy as np
import pytest

from compad_jax.config import DelayedBanditConfig, EnvConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs import make_env, registered_envs
from compad_jax.envs.protocol import Discrete, TabularEnv, make_tasks
from compad_jax.envs.split import choose_tasks
from compad_jax.envs.tabular import optimal_returns, random_returns
from tests.builders import play, random_keys

_NUM_STEPS, _NUM_TASKS = 300, 16
_FIELDS = {
    "delayed_bandit": {"wait": 5, "delayed_bandit": DelayedBanditConfig(num_arms=3, num_pulls=4)}
}


@pytest.fixture(scope="module", params=registered_envs())
def played(request):
    """(environment, tasks, actions, first observations, time steps) of uniformly random actions."""
    fields = {"grid_size": 4, "horizon": 6, "start": "random"} | _FIELDS.get(request.param, {})
    env = make_env(EnvConfig(name=request.param, **fields))
    tasks = make_tasks(env, choose_tasks(env.num_tasks, _NUM_TASKS))
    rng = np.random.default_rng(0)
    actions = rng.integers(env.spec.num_actions, size=(_NUM_STEPS, _NUM_TASKS))
    keys = random_keys((_NUM_STEPS + 1, _NUM_TASKS))
    first, timesteps = jax.device_get(jax.jit(lambda k: play(env, k, actions, tasks))(keys))
    return env, tasks, first, timesteps


def test_spaces_and_types(played):
    env, _, first, timesteps = played
    spec, leading = env.spec, (_NUM_STEPS, _NUM_TASKS)
    seen = np.concatenate([first[None], timesteps.obs])
    chex.assert_shape(seen, (_NUM_STEPS + 1, _NUM_TASKS, spec.obs_size))
    chex.assert_shape(timesteps.next_obs, (*leading, spec.obs_size))
    chex.assert_shape([timesteps.reward, timesteps.terminated, timesteps.distracted], leading)
    chex.assert_type([seen, timesteps.reward, timesteps.terminated], [spec.obs_dtype, float, bool])
    for obs in (seen, timesteps.next_obs):
        assert ((obs >= 0) & (obs < np.array(spec.obs_space.sizes))).all()
    assert ((timesteps.action >= 0) & (timesteps.action < spec.num_actions)).all()


def test_usual_rewards_lie_in_their_range(played):
    env, _, _, timesteps = played
    low, high = env.spec.reward_range
    assert ((timesteps.reward >= low) & (timesteps.reward <= high)).mean() > 0.8


def test_episodes_end_at_the_horizon_at_the_latest(played):
    env, _, _, timesteps = played
    assert timesteps.done.any(0).all()
    np.testing.assert_array_equal(timesteps.state.time == 0, timesteps.done)
    assert timesteps.state.time.max() < env.spec.horizon


def test_tables_agree_with_what_was_played(played):
    env, tasks, _, timesteps = played
    if not isinstance(env, TabularEnv):
        judge = getattr(env, "judged_as", env)
        # Otherwise nothing would tell how good one can be.
        assert hasattr(judge, "optimal_return") or isinstance(judge, TabularEnv)
        return
    tables = jax.vmap(env.tabular)(tasks)
    assert tables.reward.shape[-1] == env.spec.num_actions
    np.testing.assert_allclose(tables.initial.sum(-1), 1, rtol=1e-5)
    index = jax.vmap(jax.vmap(env.state_index))
    after, there = index(timesteps.state.env_state), index(timesteps.next_env_state)
    task, now = np.arange(_NUM_TASKS), slice(1, None)
    here, acted = after[:-1], timesteps.action[now]
    np.testing.assert_array_equal(tables.next_state[task, here, acted, 0], there[now])
    np.testing.assert_array_equal(tables.reward[task, here, acted], timesteps.reward[now])
    starts = np.nonzero(timesteps.done)
    assert (tables.initial[starts[1], after[starts]] > 0).all()


def test_random_actions_earn_their_known_return(played):
    """Over all whole episodes, and below the optimum."""
    env, tasks, _, timesteps = played
    optimum, at_random = optimal_returns(env, tasks), random_returns(env, tasks)
    chex.assert_shape([optimum, at_random], (_NUM_TASKS,))
    assert (optimum >= at_random).all()
    errors = []
    for g in range(_NUM_TASKS):
        ends = np.flatnonzero(timesteps.done[:, g]) + 1
        episodes = np.split(timesteps.reward[:, g], ends)[:-1]
        errors += [episode.sum() - at_random[g] for episode in episodes]
    assert abs(np.mean(errors)) < 3.5 * np.std(errors) / len(errors) ** 0.5


def test_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"env\.name='maze': known are .*dark_room"):
        make_env(EnvConfig(name="maze"))


@pytest.mark.parametrize("fields", [{"wait": 0}, {"wait": 3}, {"max_wait": 3}])
def test_a_wait_is_refused_where_every_step_may_pay(fields):
    with pytest.raises(
        ConfigError, match=r"env\.wait=.*only dark_room with env\.reward=first_visit"
    ):
        make_env(EnvConfig(**fields))


@pytest.mark.parametrize(
    ("name", "fields"),
    [("dark_room", {"reward": "first_visit"}), ("dark_key_to_door", {}), ("dark_goals", {})],
)
def test_a_wait_prolongs_the_horizon(name, fields):
    def horizon(**wait):
        return make_env(EnvConfig(name=name, **fields, **wait)).spec.horizon

    assert horizon() == horizon(wait=0) == 20
    assert horizon(wait=7) == horizon(wait=7, max_wait=9) == 27
    assert horizon(max_wait=9) == 29


def test_settings_reach_the_environment():
    env = make_env(EnvConfig(grid_size=3, horizon=4, start="corner"))
    assert (env.spec.obs_space, env.spec.horizon) == (Discrete((3, 3)), 4)
    np.testing.assert_array_equal(env.reset(jax.random.key(0), None)[0], [0, 0])
