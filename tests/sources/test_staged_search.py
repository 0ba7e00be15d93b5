"""The teacher of the dark rooms in lockstep with its algorithm in plain Python."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import SourceConfig, StagedSearchConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.dark_room_permuted import DarkRoomPermuted
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.envs.protocol import Discrete, EnvSpec, make_tasks
from compad_jax.sources import make_source, staged_search
from tests.builders import tasks_of

pytestmark = pytest.mark.timeout(120)

_QUIET = StagedSearchConfig(random_action_rate=0.0, final_random_action_rate=0.0)

_SEARCHING_ON = dataclasses.replace(_QUIET, idle_search_ratio=1.0)


def _learn(env, config, tasks, num_streams, num_steps, seed=0):
    """Histories [G, R, T] as NumPy arrays."""
    settings = SourceConfig("staged_search", num_streams, num_steps, staged_search=config)
    keys = jax.random.split(jax.random.key(seed), len(tasks))
    return jax.device_get(jax.jit(jax.vmap(make_source(settings, env)))(keys, tasks))


class OracleLearner:
    """The algorithm, one learner, by breadth-first search; shares no code with the source."""

    def __init__(self, next_places, num_stages, knows_moves=True):
        num_moves = next_places.shape[1]
        moves = set(range(num_moves))
        self.may_be = [{n} if knows_moves else moves.copy() for n in range(num_moves)]
        self.next_places, self.num_stages = next_places.tolist(), num_stages
        self.visited = collections.defaultdict(set)
        self.payer = {}
        self.stage = 0

    def _distances(self, start):
        distances, queue = {start: 0}, collections.deque([start])
        while queue:
            place = queue.popleft()
            for after in self.next_places[place]:
                if after not in distances:
                    distances[after] = distances[place] + 1
                    queue.append(after)
        return distances

    def best(self, place):
        """The action without noise; with nothing left to earn, that of a search."""
        targets = {self.payer[self.stage]} if self.stage in self.payer else None
        lengths = []
        for after in self.next_places[place]:
            reach = self._distances(after)
            wanted = targets or set(reach) - self.visited[self.stage]
            lengths.append(min((reach[p] for p in wanted if p in reach), default=10**6))
        hoped = [min(lengths[move] for move in moves) for moves in self.may_be]
        return hoped.index(min(hoped))

    def learn(self, before, action, place, reward, done):
        stage = self.stage
        self.may_be[action] = {
            m for m in self.may_be[action] if self.next_places[before][m] == place
        }
        sure = {n: next(iter(moves)) for n, moves in enumerate(self.may_be) if len(moves) == 1}
        for n, moves in enumerate(self.may_be):
            if n not in sure:
                moves -= set(sure.values())
        self.visited[stage].add(place)
        if reward:
            self.payer[stage] = place
            self.stage += self.num_stages is not None
        within_reach = set().union(*map(self._distances, self.next_places[place]))
        if within_reach <= self.visited[stage] and stage not in self.payer:
            self.visited[stage] = set()
        if done:
            self.stage = 0
            self.visited.pop(self.num_stages, None)


@dataclasses.dataclass(frozen=True)
class OneWay:
    """Places 0..5 in a ring with one way round, beside them 6 and 7 that nothing leads to."""

    spec = EnvSpec(2, Discrete((8,)), 11)
    num_stages = None
    num_tasks = 8

    def task(self, index):
        return index

    def reset(self, key, task):
        return jnp.zeros((), jnp.int32), jnp.zeros((1,), jnp.int32)

    def next_places(self):
        return np.array([(1, 0), (2, 1), (3, 2), (4, 3), (5, 3), (0, 5), (0, 6), (6, 7)])

    def step(self, key, env_state, action, task):
        place = jnp.asarray(self.next_places())[env_state, action]
        reward = (place == task).astype(jnp.float32)
        return place, place[None], reward, jnp.zeros((), bool)

    def place(self, env_state):
        return env_state


def _place_of(env, obs):
    return obs[..., 0] if isinstance(env, OneWay) else obs @ [env.grid_size, 1]


@pytest.mark.parametrize(
    ("env", "config", "num_steps"),
    [
        (DarkGoals(3, 12), _QUIET, 120),
        (DarkGoals(3, 40), _SEARCHING_ON, 200),
        (DarkGoals(2, 5, "random"), StagedSearchConfig(random_action_rate=0.5), 60),
        (DarkGoals(3, 9, "corner"), StagedSearchConfig(late_reward_ratio=0.7), 150),
        (DarkRoom(4, 7), StagedSearchConfig(spread_random_actions=True), 80),
        (DarkRoom(3, 6, "random"), StagedSearchConfig(late_reward_ratio=1.0), 90),
        (OneWay(), StagedSearchConfig(random_action_rate=0.3), 80),
        (DarkGoals(3, 12), StagedSearchConfig(random_action_rate=0.5, random_run_length=3), 60),
        (DarkRoomPermuted(3, 9), StagedSearchConfig(random_action_rate=0.3), 60),
        (DarkRoomPermuted(4, 20, "random"), _QUIET, 60),
    ],
    ids=lambda x: type(x).__name__ if dataclasses.is_dataclass(x) else "",
)
def test_policy_equals_the_oracle(env, config, num_steps):
    indices = np.arange(0, env.num_tasks, max(1, env.num_tasks // 8))
    history = _learn(env, config, make_tasks(env, indices), 3, num_steps)
    obs, action, reward, next_obs, done = history.transition
    bend, num_actions = config.anneal_ratio * num_steps, env.spec.num_actions
    kinds = set()
    for g, r in np.ndindex(len(indices), 3):
        knows_moves = not isinstance(env, DarkRoomPermuted)
        learner = OracleLearner(env.next_places(), env.num_stages, knows_moves)
        for t in range(num_steps):
            before = int(_place_of(env, obs[g, r, t]))
            best = learner.best(before)
            progress = min(t / bend, 1)
            rate = config.random_action_rate * (1 - progress)
            rate += config.final_random_action_rate * progress
            rate *= r / 2 if config.spread_random_actions else 1
            if config.random_run_length:  # Drawn in advance; tests of the noise hold the rates.
                rate = float(np.ptp(history.log_probs[g, r, t]) == 0)
            is_idle = learner.stage == env.num_stages
            rate = 1 if is_idle else rate
            expected = np.full(num_actions, rate / num_actions)
            expected[best] += 1 - rate
            where = f"task {g}, stream {r}, step {t}"
            policy = np.exp(history.log_probs[g, r, t])
            np.testing.assert_allclose(policy, expected, rtol=1e-4, atol=1e-7, err_msg=where)
            place = int(_place_of(env, next_obs[g, r, t]))
            learner.learn(before, action[g, r, t], place, reward[g, r, t], done[g, r, t])
            if is_idle and config == _SEARCHING_ON:
                assert action[g, r, t] == best, where
            kinds.add(is_idle)
    assert False in kinds
    assert (True in kinds) == (env.num_stages is not None)


def test_actions_follow_the_recorded_policy():
    env, config = DarkGoals(3, 12), StagedSearchConfig(random_action_rate=0.9)
    history = _learn(env, config, tasks_of(env), 8, 240)
    probs = np.exp(history.log_probs)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)
    taken = np.eye(5)[history.transition.action]
    assert np.abs((taken - probs).mean((0, 1, 2))).max() < 0.01
    entropy = -(probs * history.log_probs).sum(-1)
    assert abs(history.log_prob.mean() + entropy.mean()) < 0.01


def test_finds_key_and_door_and_acts_uniformly_afterwards():
    env = DarkGoals(4, 30)
    tasks = tasks_of(env)[::5]
    history = _learn(env, _QUIET, tasks, 1, 300)
    reward = history.transition.reward[:, 0].reshape(len(tasks), 10, 30)
    assert (reward[:, -3:].sum(-1) == 2).mean() == 1  # From the eighth episode on at the latest.
    assert (reward[:, 0].sum(-1) < 2).any()
    earned = reward.cumsum(-1) - reward  # Before the step.
    policy = history.log_probs[:, 0].reshape(len(tasks), 10, 30, 5)
    uniform = (policy == -np.log(np.float32(5))).all(-1)
    np.testing.assert_array_equal(uniform, earned == 2)


def test_searches_on_in_so_many_episodes():
    """Which ones is drawn; there it sweeps the room, and elsewhere it enters few places."""
    env, config = DarkGoals(4, 60), dataclasses.replace(_QUIET, idle_search_ratio=0.3)
    steps = _learn(env, config, tasks_of(env)[::4], 4, 600).transition
    earned = steps.reward.reshape(-1, 60).cumsum(-1)
    places = _place_of(env, steps.next_obs).reshape(-1, 60)
    after = [p[e == 2][1:17] for p, e in zip(places, earned, strict=True)]
    is_search = [len(set(p)) > 13 for p in after if len(p) == 16]
    assert len(is_search) > 500
    assert abs(np.mean(is_search) - 0.3) < 0.05


def test_finds_out_what_permuted_actions_do():
    """Without noise: every learner goes straight to the goal in the end, for each of 120 orders."""
    env = DarkRoomPermuted(5, 20)
    history = _learn(env, _QUIET, tasks_of(env), 1, 200)
    reward = history.transition.reward[:, 0].reshape(120, 10, 20).sum(-1)
    np.testing.assert_array_equal(reward[:, -1], 20 - 8 + 1)  # Eight steps to the far corner.
    assert (reward[:, 0] < 13).mean() > 0.8


def test_goes_to_the_goal_of_a_dark_room_and_stays():
    env = DarkRoom(5, 15)
    history = _learn(env, _QUIET, tasks_of(env), 1, 150)
    last = history.transition.reward[:, 0, -15:].sum(-1)
    distance = np.abs(np.asarray(tasks_of(env)) - 2).sum(-1)
    np.testing.assert_array_equal(last, 15 - np.maximum(distance - 1, 0))


def test_a_late_stream_is_paid_from_the_start_of_an_episode_on():
    """Its door is never taken for its key, although the key was entered without pay."""
    env = DarkGoals(3, 16)
    config = dataclasses.replace(_QUIET, late_reward_ratio=1.0)
    reward = _learn(env, config, tasks_of(env), 4, 240).transition.reward
    earned = reward.reshape(81, 4, 15, 16).sum(-1)
    most = earned.max(0)  # [R, episodes], over all tasks.
    # Due after 60, 120, 180 and 240 steps, the first three in the middle of an episode; streams
    # wait for their doors, or for all, in turn.
    due = (np.argmax(most == 2, axis=1) * (most == 2).any(1)).tolist()
    assert sorted(due) == [0, 4, 8, 12]
    for stream, episode in enumerate(due):
        before = most[stream, : episode or None]
        np.testing.assert_array_equal(before, 1 - stream % 2)
    last = earned[:, [episode > 0 for episode in due], -1]
    assert (last == 2).mean() > 0.9


def test_paid_stages_by_hand():
    is_paid = jnp.array([[True, False, False, False], [True, False, True, False]])
    found = staged_search.paid_stages(is_paid, 3)
    np.testing.assert_array_equal(found, [[3, 2, 1, 0], [3, 2, 3, 0]])
    np.testing.assert_array_equal(staged_search.paid_stages(is_paid, 1), is_paid)


def test_a_search_in_vain_starts_over():
    nowhere = jnp.array([[-1, -1]])
    history = _learn(DarkRoom(5, 10), _QUIET, nowhere, 1, 400)
    cells = history.transition.next_obs[0, 0] @ [5, 1]
    assert all(len(set(cells[start : start + 100])) == 25 for start in (0, 100, 200, 300))


def test_an_environment_without_a_map_is_refused():
    with pytest.raises(ConfigError, match=r"^source\.name='staged_search': .* with a map$"):
        make_source(SourceConfig("staged_search"), DelayedBandit())
