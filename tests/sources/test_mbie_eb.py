"""The systematic teacher: what it explores, what it earns, what it records."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import MbieEbConfig, SourceConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs import tabular
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.sources.mbie_eb import make_mbie_eb, optimistic_values
from tests.builders import tasks_of

pytestmark = pytest.mark.timeout(120)

_ROOM = DarkRoom(grid_size=9, horizon=20)
_SMALL = DarkRoom(grid_size=4, horizon=7)
_STREAMS, _STEPS = 4, SourceConfig().num_steps
_NOWHERE = jnp.array([[-1, -1]])  # A goal outside the room: nothing to exploit.


def _make(env, config, num_streams, num_steps):
    """Function (seed, tasks) -> histories [G, R, T] as NumPy arrays."""
    source = make_mbie_eb(env, config, num_streams=num_streams, num_steps=num_steps)
    over_tasks = jax.jit(jax.vmap(source))

    def learn(seed, tasks):
        keys = jax.random.split(jax.random.key(seed), len(tasks))
        return jax.device_get(over_tasks(keys, tasks))

    return learn


def _noise_rate(config, t, num_steps):
    """Share of random actions at step t: a line, then a constant."""
    bend = config.anneal_ratio * num_steps
    if t >= bend:
        return config.final_random_action_rate
    return (config.random_action_rate * (bend - t) + config.final_random_action_rate * t) / bend


def _fraction_of_optimum(history):
    """Mean over goals and streams of every episode in the paper's room."""
    optimum_of = jax.vmap(lambda t: tabular.optimal_return(_ROOM.tabular(t), _ROOM.horizon))
    optimum = np.asarray(jax.jit(optimum_of)(tasks_of(_ROOM)))
    reward = history.transition.reward
    returns = reward.reshape(*reward.shape[:2], -1, _ROOM.horizon).sum(-1)
    return (returns / optimum[:, None, None]).mean((0, 1))


@pytest.fixture(scope="module")
def learn():
    """Learns with the default settings in the paper's room."""
    return _make(_ROOM, MbieEbConfig(), _STREAMS, _STEPS)


@pytest.fixture(scope="module")
def history(learn):
    """Default histories of every goal, [81, R, T]."""
    return learn(0, tasks_of(_ROOM))


@pytest.fixture(scope="module")
def without_noise():
    """Eight episodes without noise, of every goal and, last, of none, [82, 2, 160]."""
    config = MbieEbConfig(random_action_rate=0.0, final_random_action_rate=0.0)
    return _make(_ROOM, config, 2, 160)(0, jnp.concatenate([tasks_of(_ROOM), _NOWHERE]))


def test_shapes(history):
    leading = (81, _STREAMS, _STEPS)
    transition = history.transition
    chex.assert_shape([transition.obs, transition.next_obs], (*leading, 2))
    chex.assert_shape([transition.action, transition.reward, transition.done], leading)
    chex.assert_shape(history.log_probs, (*leading, 5))
    chex.assert_type([transition.reward, history.log_probs, transition.done], [float, float, bool])


def test_visits_every_cell_within_eight_episodes(without_noise):
    aimless = jax.tree.map(lambda x: x[-1], without_noise.transition)
    assert not aimless.reward.any()
    for stream in aimless.next_obs:
        assert len(np.unique(stream, axis=0)) == 81


def test_reaches_the_optimum_by_the_eighth_episode(without_noise):
    curve = _fraction_of_optimum(jax.tree.map(lambda x: x[:-1], without_noise))
    assert curve[7] >= 0.97
    assert curve[0] < 0.3  # It starts out knowing nothing.
    assert (np.diff(curve[:6]) > 0).all()


def test_default_histories_end_at_the_optimum(history):
    curve = _fraction_of_optimum(history)
    assert curve[0] < 0.3
    assert curve[-2:].mean() >= 0.97


def test_transitions_continue_each_other(history):
    transition = history.transition
    last = np.broadcast_to(np.arange(_STEPS) % 20 == 19, (81, _STREAMS, _STEPS))
    np.testing.assert_array_equal(transition.done, last)
    expected = np.where(last[..., None], 4, transition.next_obs)
    np.testing.assert_array_equal(transition.obs[:, :, 1:], expected[:, :, :-1])
    np.testing.assert_array_equal(transition.obs[:, :, 0], np.full((81, _STREAMS, 2), 4))
    goals = np.asarray(tasks_of(_ROOM))[:, None, None]
    on_goal = (transition.next_obs == goals).all(-1)
    np.testing.assert_array_equal(transition.reward, on_goal.astype(np.float32))


def test_log_probs_hold_the_configured_noise_exactly(history):
    config = MbieEbConfig()
    noise = np.array([_noise_rate(config, t, _STEPS) for t in range(_STEPS)])
    probs = np.sort(np.exp(history.log_probs), axis=-1)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)
    for action in range(4):
        expected = np.broadcast_to(noise / 5, probs.shape[:-1])
        np.testing.assert_allclose(probs[..., action], expected, rtol=1e-4, atol=1e-8)
    greedy = history.log_probs.argmax(-1) == history.transition.action
    assert abs(greedy.mean() - (1 - 0.8 * noise.mean())) < 0.003  # What is recorded acted.
    expected = np.where(greedy, history.log_probs.max(-1), history.log_probs.min(-1))
    np.testing.assert_array_equal(history.log_prob, expected)


def test_learners_are_independent(history):
    actions = history.transition.action.reshape(81 * _STREAMS, _STEPS)
    assert len(np.unique(actions, axis=0)) == len(actions)


def test_key_decides(learn, history):
    chex.assert_trees_all_equal(learn(0, tasks_of(_ROOM)), history)
    other = learn(1, tasks_of(_ROOM))
    assert (other.transition.action != history.transition.action).any(-1).all()


def _oracle_best(table, config, visits, reward_sum, state):
    """Which actions are equally best, by a plain value iteration in float64."""
    mean = reward_sum / np.maximum(visits, 1)
    entered = mean + np.where(visits < config.known_visits, config.bonus, 0.0)
    reward = entered.copy()
    for _ in range(_SMALL.horizon):
        entered = reward + config.discount * entered[table].max(1)
    values = entered[table[state]]
    return np.isclose(values, values.max(), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def lockstep():
    """Runs learners in a small room: yields (stream, noise, best actions, recorded policy)."""
    tasks = jnp.array([(0, 3), (2, 2)])
    table = np.asarray(jax.jit(_SMALL.tabular)(tasks[0]).next_state[..., 0])

    def run(config, num_steps=50):
        history = _make(_SMALL, config, 3, num_steps)(0, tasks)
        obs, _, reward, next_obs, _ = history.transition
        obs, next_obs = obs @ [4, 1], next_obs @ [4, 1]  # Numbers of cells.
        for stream in np.ndindex(2, 3):
            visits, reward_sum = np.zeros(16), np.zeros(16)
            for t in range(num_steps):
                best = _oracle_best(table, config, visits, reward_sum, obs[*stream, t])
                noise = _noise_rate(config, t, num_steps)
                yield stream, noise, best, np.exp(history.log_probs[*stream, t])
                visits[next_obs[*stream, t]] += 1
                reward_sum[next_obs[*stream, t]] += reward[*stream, t]
                if (visits >= config.known_visits).all() and not reward_sum.any():
                    visits[:] = 0

    return run


def _close(policy, noise, greedy):
    expected = (1 - noise) * greedy / greedy.sum() + noise / 5
    np.testing.assert_allclose(policy, expected, rtol=1e-4, atol=1e-7)


def test_policy_equals_the_oracle_with_the_first_of_ties(lockstep):
    config = MbieEbConfig(
        ties="first", bonus=0.7, discount=0.4, random_action_rate=0.4, final_random_action_rate=0.1
    )
    for _, noise, best, policy in lockstep(config):
        _close(policy, noise, np.arange(5) == best.argmax())


def test_policy_equals_the_oracle_with_noise_that_grows_over_the_streams(lockstep):
    config = MbieEbConfig(spread_random_actions=True, random_action_rate=0.4)
    for (_, stream), noise, best, policy in lockstep(config):
        _close(policy, noise * stream / 2, np.arange(5) == best.argmax())


def test_policy_equals_the_oracle_with_random_ties(lockstep):
    config = MbieEbConfig(ties="random", known_visits=2, bonus=1.5, discount=0.8)
    sizes = set()
    for _, noise, best, policy in lockstep(config):
        _close(policy, noise, best)
        sizes.add(best.sum())
    assert {1, 2} < sizes


def test_policy_equals_the_oracle_where_rewards_come_late(lockstep):
    config = MbieEbConfig(late_reward_ratio=1.0, random_action_rate=0.0)
    for _, noise, best, policy in lockstep(config, num_steps=120):
        _close(policy, noise, np.arange(5) == best.argmax())


def test_late_streams_are_paid_nothing_until_their_time():
    num_streams, num_steps = 10, 60
    config = MbieEbConfig(late_reward_ratio=0.3)
    history = _make(_SMALL, config, num_streams, num_steps)(0, tasks_of(_SMALL))
    transition = history.transition
    on_goal = (transition.next_obs == tasks_of(_SMALL)[:, None, None]).all(-1)
    withheld = on_goal & (transition.reward == 0)
    late = withheld.any((0, 2))
    assert late.sum() == 3
    np.testing.assert_array_equal(transition.reward[:, ~late], on_goal[:, ~late])
    last = [np.flatnonzero(stream.any(0)).max() for stream in withheld.swapaxes(0, 1)[late]]
    for step, delay in zip(sorted(last), (20, 40, 60), strict=True):
        assert delay - 10 < step < delay
    for stream, step in zip(np.flatnonzero(late), last, strict=True):
        after = np.s_[:, stream, step + 1 :]
        np.testing.assert_array_equal(transition.reward[after], on_goal[after])
        assert not transition.reward[:, stream, : step + 1].any()


def test_a_search_in_vain_starts_over():
    config = MbieEbConfig(random_action_rate=0.0, final_random_action_rate=0.0)
    history = _make(_ROOM, config, 1, 480)(0, _NOWHERE)
    cells = history.transition.next_obs[0, 0]
    seen = [len(np.unique(cells[start : start + 160], axis=0)) for start in (0, 160, 320)]
    assert seen == [81, 81, 81]


class _WalledRoom(DarkRoom):
    """A room whose lower rows nothing leads to, and whose first cell is never entered again."""

    def tabular(self, task):
        model = super().tabular(task)
        row = np.arange(25) // 5
        outside = row[:, None, None] > 2
        blocked = np.asarray(model.next_state)
        blocked = np.where((blocked // 5 > 2) & ~outside, 5, blocked)
        return model._replace(next_state=np.where(blocked == 0, 5, blocked))

    def step(self, key, env_state, action, task):
        after = self.tabular(task).next_state[..., 0]
        after = jnp.asarray(after)[self.state_index(env_state), action]
        cell = jnp.stack(jnp.divmod(after, 5))
        return cell, cell, jnp.all(cell == task).astype(jnp.float32), jnp.zeros((), bool)


def test_a_search_in_vain_starts_over_although_some_states_cannot_be_entered():
    config = MbieEbConfig(random_action_rate=0.0, final_random_action_rate=0.0)
    history = _make(_WalledRoom(5, 10, "corner"), config, 1, 300)(0, _NOWHERE)
    cells = history.transition.next_obs[0, 0] @ [5, 1]
    for start in (0, 100, 200):
        assert set(cells[start : start + 100]) == set(range(1, 15))


class _Detour(DarkRoom):
    """A task decides where a move leads."""

    def tabular(self, task):
        model = super().tabular(task)
        return model._replace(next_state=(model.next_state + task[0]) % self.grid_size**2)


class _Slippery(DarkRoom):
    """A move leads to one of two cells."""

    def tabular(self, task):
        model = super().tabular(task)
        return model._replace(next_state=np.repeat(model.next_state, 2, axis=-1))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (DelayedBandit(), "needs an environment with tables of its states"),
        (DarkGoals(), "needs an environment whose transitions do not depend on the task"),
        (_Detour(), "needs an environment whose transitions do not depend on the task"),
        (_Slippery(), "needs an environment without chance"),
    ],
)
def test_refuses_what_it_cannot_know(env, message):
    with pytest.raises(ConfigError, match=rf"^source\.name='mbie_eb': {message}.*$"):
        make_mbie_eb(env, MbieEbConfig(), num_streams=1, num_steps=1)


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
