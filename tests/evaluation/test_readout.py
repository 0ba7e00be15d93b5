"""Read-outs of planted memories, facts and judgements by hand."""

import numpy as np
import pytest

from compad_jax.config import EnvConfig
from compad_jax.envs import make_env
from compad_jax.evaluation import readout
from compad_jax.evaluation.lives import Lives
from compad_jax.evaluation.readout import Belief, Facts, Room
from compad_jax.types import Transition

_ROOM = Room(5, 4, has_goal=True)


def test_ridge_finds_a_linear_map_and_shrinks_to_the_mean():
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(200, 6)) * [1, 2, 3, 4, 5, 0], rng.normal(size=(6, 2))
    y = x @ truth + [3, -1]
    weights, constant = readout.fit_ridge(x, y, 1e-9)
    np.testing.assert_allclose(x @ weights + constant, y, atol=1e-6)
    weights, constant = readout.fit_ridge(x, y, 1e9)
    np.testing.assert_allclose(
        x @ weights + constant, np.broadcast_to(y.mean(0), y.shape), atol=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "room"),
    [
        ({}, Room(9, 9, True)),
        ({"reward": "first_visit", "wait": 5, "grid_size": 5}, Room(5, 5, True)),
        ({"name": "dark_key_to_door"}, Room(9, 9, False)),
        ({"name": "dark_room_permuted"}, Room(9, 9, False)),
        ({"name": "delayed_bandit"}, None),
    ],
    ids=str,
)
def test_rooms_of_environments(settings, room):
    assert readout.room_of(make_env(EnvConfig(**settings))) == room


def test_facts_by_hand():
    # Two lives of four steps in 2 x 2 cells, compressed by two tokens; only the second is paid.
    obs = np.array([[[0, 0], [0, 0]], [[0, 1], [1, 0]], [[1, 1], [1, 1]], [[1, 1], [0, 0]]])
    next_obs = np.roll(obs, -1, axis=0)
    reward = np.array([[0, 0], [0, 1], [0, 0], [0, 1]])
    transition = Transition(obs, reward, reward, next_obs, reward > 0)
    lives = Lives(transition, None, None, None, np.zeros((3, 2, 1, 1)), None)
    facts = readout.facts_of(lives, Room(2, 2, True), compress_length=2)
    # The reward of a step is told by the next token: it is in the second segment.
    np.testing.assert_array_equal(facts.found, [[False, False], [False, True]])
    np.testing.assert_array_equal(
        facts.visited, [[[1, 1, 0, 0], [1, 0, 1, 0]], [[1, 1, 0, 1], [1, 0, 1, 1]]]
    )
    np.testing.assert_array_equal(facts.goal, [-1, 3])


def _planted(seed, cells, size):
    """Facts of memories in which one cell is the goal, and latents that hold them or do not."""
    rng, mixing = np.random.default_rng(seed), np.random.default_rng(0).normal(size=(30, 30))
    goal = rng.choice(cells, size)
    found, visited = rng.random((3, size)) < 0.7, rng.random((3, size, 20)) < 0.5
    facts = Facts(found, visited, goal)
    told = np.where(found, goal, -1)
    one_of = [told[..., None] // 4 == np.arange(5), told[..., None] % 4 == np.arange(4)]
    rows = [found[..., None], visited, *one_of]
    holds = np.concatenate(rows, -1).astype(float) @ mixing
    return facts, holds.reshape(3, size, 5, 6), rng.normal(size=(3, size, 5, 6))


def test_goals_in_cells_never_seen_are_read_from_memories_that_hold_them():
    unseen = [6, 9, 15]
    train = _planted(1, [x for x in range(20) if x not in unseen], 300)
    test = _planted(2, unseen, 300)
    held = readout.fit_readout(train[1], train[0], _ROOM)
    belief = readout.read_out(held, test[1], _ROOM)
    quality = readout.judge(belief, test[0], _ROOM)
    assert min(quality.values()) > 0.95
    np.testing.assert_allclose(belief.goal.sum(-1), 1)
    nowhere = ~test[0].found
    # Who found nothing believes the goal in cells that were not visited.
    assert belief.goal[nowhere][test[0].visited[nowhere]].max() < 0.05
    blind = readout.fit_readout(train[2], train[0], _ROOM)
    quality = readout.judge(readout.read_out(blind, test[2], _ROOM), test[0], _ROOM)
    assert quality["goal"] < 0.2 and abs(quality["visited"] - 0.5) < 0.05


def test_without_a_goal_or_without_rewards_no_goal_is_read():
    facts, holds, _ = _planted(1, range(20), 50)
    never = facts._replace(found=np.zeros_like(facts.found), goal=np.full(50, -1))
    for given, room in ((facts, _ROOM._replace(has_goal=False)), (never, _ROOM)):
        belief = readout.read_out(readout.fit_readout(holds, given, room), holds, room)
        assert belief.goal is None and belief.visited.shape == (3, 50, 20)
        assert readout.judge(belief, given, room)["goal"] is None


def test_judgement_by_hand():
    goal = np.array([[0, 0.9, 0.1, 0], [0.6, 0.4, 0, 0], [0, 0, 0, 1]])[None]
    visited = np.array([[1, 1, 0, 0], [1, 0.4, 0, 0], [1, 1, 1, 1]])[None]
    belief = Belief(found=np.array([[0.9, 0.8, 0.6]]), visited=visited, goal=goal)
    truth = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]], bool)[None]
    facts = Facts(np.array([[True, True, False]]), truth, goal=np.array([1, 1, 0]))
    quality = readout.judge(belief, facts, Room(2, 2, True))
    assert quality == pytest.approx(
        {"visited": (6 / 7 + 4 / 5) / 2, "found": 2 / 3, "goal": 0.5, "near_goal": 1}
    )
    everywhere = facts._replace(visited=np.ones_like(truth))
    assert readout.judge(belief, everywhere, Room(2, 2, True))["visited"] == pytest.approx(7 / 12)
