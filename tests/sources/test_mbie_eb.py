"""The systematic teacher: what it explores, what it earns, what it records."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import MbieEbConfig, SourceConfig
from compad_jax.envs import base
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.sources.mbie_eb import make_mbie_eb, optimistic_values

pytestmark = pytest.mark.timeout(120)

_ROOM = DarkRoom(grid_size=9, horizon=20)
_STREAMS, _EPISODES = 8, 9
_STEPS = _EPISODES * _ROOM.horizon
_NOWHERE = jnp.array([-1, -1])  # A goal outside the room: nothing to exploit.


def _learn(env, config, tasks, num_streams, num_steps):
    """Histories [G, R, T] as NumPy arrays."""
    source = make_mbie_eb(env, config, num_streams=num_streams, num_steps=num_steps)
    keys = jax.random.split(jax.random.key(0), len(tasks))
    return jax.device_get(jax.jit(jax.vmap(source))(keys, tasks))


def _fraction_of_optimum(history):
    """Mean over goals and streams of every episode in the paper's room."""
    optimum_of = jax.vmap(lambda t: base.optimal_return(_ROOM.tabular(t), _ROOM.horizon))
    optimum = np.asarray(jax.jit(optimum_of)(_ROOM.tasks))
    reward = history.transition.reward
    returns = reward.reshape(*reward.shape[:2], -1, _ROOM.horizon).sum(-1)
    return (returns / optimum[:, None, None]).mean((0, 1))


@pytest.fixture(scope="module")
def learn():
    """Histories of every goal of the paper's room with 2% noise throughout, by seed."""
    config = MbieEbConfig(random_action_rate=0.02, final_random_action_rate=0.02)
    source = make_mbie_eb(_ROOM, config, num_streams=_STREAMS, num_steps=_STEPS)
    over_tasks = jax.jit(jax.vmap(source))
    return lambda seed: jax.device_get(
        over_tasks(jax.random.split(jax.random.key(seed), 81), _ROOM.tasks)
    )


@pytest.fixture(scope="module")
def history(learn):
    return learn(seed=0)


def test_shapes(history):
    leading = (81, _STREAMS, _STEPS)
    transition = history.transition
    chex.assert_shape([transition.obs, transition.next_obs], (*leading, 2))
    chex.assert_shape([transition.action, transition.reward, transition.done], leading)
    chex.assert_shape(history.log_probs, (*leading, 5))
    chex.assert_type([transition.reward, history.log_probs, transition.done], [float, float, bool])


def test_reaches_the_optimum_by_the_eighth_episode(history):
    curve = _fraction_of_optimum(history)
    assert curve[7] >= 0.97
    assert curve[0] < 0.3  # It starts out knowing nothing.
    assert (np.diff(curve[:6]) > 0).all()


def test_default_histories_end_at_the_optimum():
    config, num_steps = MbieEbConfig(), SourceConfig().num_steps
    history = _learn(_ROOM, config, _ROOM.tasks, 2, num_steps)
    curve = _fraction_of_optimum(history)
    assert curve[0] < 0.3
    assert curve[-2:].mean() >= 0.97
    noise = np.array([_noise_rate(config, t, num_steps) for t in range(num_steps)])
    np.testing.assert_allclose(
        np.exp(history.log_probs).min(-1)[3, 1], noise / 5, rtol=1e-4, atol=1e-8
    )


def _noise_rate(config, t, num_steps):
    """Share of random actions at step t: a line, then a constant."""
    bend = config.anneal_ratio * num_steps
    if t >= bend:
        return config.final_random_action_rate
    return (config.random_action_rate * (bend - t) + config.final_random_action_rate * t) / bend


def test_transitions_continue_each_other(history):
    transition = history.transition
    time = np.arange(_STEPS)
    np.testing.assert_array_equal(
        transition.done, np.broadcast_to(time % 20 == 19, (81, _STREAMS, _STEPS))
    )
    expected = np.where(transition.done[..., None], 4, transition.next_obs)
    np.testing.assert_array_equal(transition.obs[:, :, 1:], expected[:, :, :-1])
    np.testing.assert_array_equal(transition.obs[:, :, 0], np.full((81, _STREAMS, 2), 4))
    goals = np.asarray(_ROOM.tasks)[:, None, None]
    on_goal = (transition.next_obs == goals).all(-1)
    np.testing.assert_array_equal(transition.reward, on_goal.astype(np.float32))


def test_log_probs_hold_the_noise_rate_exactly(history):
    probs = np.sort(np.exp(history.log_probs), axis=-1)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(probs[..., :4], 0.02 / 5, rtol=1e-5)
    np.testing.assert_allclose(probs[..., 4], 1 - 0.02 + 0.02 / 5, rtol=1e-6)
    greedy = history.log_probs.argmax(-1) == history.transition.action
    assert abs(greedy.mean() - 0.984) < 0.002  # The recorded policy is the one that acted.
    expected = np.where(greedy, history.log_probs.max(-1), history.log_probs.min(-1))
    np.testing.assert_array_equal(history.log_prob, expected)


def test_learners_are_independent_where_there_is_noise(history):
    distinct = [len(np.unique(actions, axis=0)) for actions in history.transition.action]
    # A learner is never disturbed with probability 0.984^180 = 0.055; those are alike.
    assert min(distinct) > 1
    assert np.mean(distinct) > 0.95 * _STREAMS


def test_key_decides(learn, history):
    chex.assert_trees_all_equal(learn(seed=0), history)
    changed = (learn(seed=1).transition.action != history.transition.action).any(-1)
    assert changed.mean() > 0.95


def test_visits_every_cell_within_eight_episodes():
    config = MbieEbConfig(random_action_rate=0.0, final_random_action_rate=0.0)
    history = _learn(_ROOM, config, _NOWHERE[None], 2, 8 * 20)
    cells = np.asarray(_ROOM.state_index(history.transition.next_obs))[0]
    assert len(np.unique(cells[0])) == 81
    assert not history.transition.reward.any()
    np.testing.assert_array_equal(cells[0], cells[1])  # Nothing is drawn: learners are alike.


def _oracle_policy(table, config, noise, horizon, visits, reward_sum, state):
    """Action probabilities by a plain value iteration in float64."""
    mean = reward_sum / np.maximum(visits, 1)
    entered = mean + np.where(visits < config.known_visits, config.bonus, 0.0)
    reward = entered.copy()
    for _ in range(horizon):
        entered = reward + config.discount * entered[table].max(1)
    values = entered[table[state]]
    best = np.isclose(values, values.max(), rtol=0, atol=1e-5)
    if not config.random_ties:
        best = np.arange(len(values)) == best.argmax()
    return (1 - noise) * best / best.sum() + noise / len(values)


@pytest.mark.parametrize(
    "config",
    [
        MbieEbConfig(random_action_rate=0.4, final_random_action_rate=0.1, anneal_ratio=0.5),
        MbieEbConfig(random_ties=True, known_visits=2, bonus=0.5, discount=0.8, anneal_ratio=1.0),
    ],
)
def test_recorded_policy_equals_the_oracle_at_every_step(config):
    env = DarkRoom(grid_size=4, horizon=7)
    tasks = jnp.array([(0, 3), (2, 2)])
    history = _learn(env, config, tasks, 3, 50)
    table = np.asarray(env.tabular(tasks[0]).next_state)
    obs, next_obs = (
        np.asarray(env.state_index(x))
        for x in (history.transition.obs, history.transition.next_obs)
    )
    num_ties = set()
    for g, r in np.ndindex(2, 3):
        visits, reward_sum = np.zeros(16), np.zeros(16)
        for t in range(50):
            expected = _oracle_policy(
                table, config, _noise_rate(config, t, 50), 7, visits, reward_sum, obs[g, r, t]
            )
            np.testing.assert_allclose(
                np.exp(history.log_probs[g, r, t]), expected, rtol=1e-4, atol=1e-7
            )
            num_ties.add((expected == expected.max()).sum())
            visits[next_obs[g, r, t]] += 1
            reward_sum[next_obs[g, r, t]] += history.transition.reward[g, r, t]
    assert (max(num_ties) > 1) == config.random_ties


@pytest.mark.parametrize("num_sweeps", [0, 1, 12])
def test_optimistic_values_equal_value_iteration(num_sweeps):
    rng = np.random.default_rng(num_sweeps)
    reward = rng.normal(size=(7, 3)).astype(np.float32)
    next_state = rng.integers(7, size=(7, 4))
    values = optimistic_values(
        jnp.asarray(reward), jnp.asarray(next_state), discount=0.9, num_sweeps=num_sweeps
    )
    chex.assert_shape(values, (7, 3))
    for stream in range(3):
        expected = reward[:, stream].astype(float)
        for _ in range(num_sweeps):
            best = [max(expected[s] for s in row) for row in next_state]
            expected = reward[:, stream] + 0.9 * np.array(best)
        np.testing.assert_allclose(values[:, stream], expected, rtol=1e-4, atol=1e-7)
