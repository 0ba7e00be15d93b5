"""The stories of the page to explore, from lives made up by hand, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.evaluation.lives import Lives
from compad_jax.evaluation.readout import Facts, Room, fit_readout
from compad_jax.evaluation.shown_life import Fitted
from compad_jax.reports import explore
from compad_jax.types import Transition

_WAIT = 1000


def _life(rng):
    """Three walks along the first row of 3 x 3 cells, of 4, 2 and 2 steps, with waits between."""
    walks = [[0, 0, 1, 2], [1, 2], [0, 2]]
    cells, obs, waits, done = [], [], [], []
    for walk in walks:
        wait = rng.integers(9, size=_WAIT).tolist()
        obs += [0, *walk, *wait[:-1]]
        cells += [*walk, *wait]
        waits += [False] * len(walk) + [True] * _WAIT
        done += [False] * (len(walk) + _WAIT - 1) + [True]
    pair = lambda x: np.stack(np.divmod(x, 3), -1)[:, None]  # noqa: E731
    waits, done = np.array(waits), np.array(done)
    reward = np.zeros(len(cells))
    reward[np.flatnonzero(waits[1:] & ~waits[:-1])] = 1
    transition = Transition(pair(obs), reward[:, None], reward[:, None], pair(cells), done[:, None])
    version = np.arange(len(cells)) // 10
    latents = rng.normal(size=(version[-1] + 1, 1, 2, 3))
    gates = np.zeros((version[-1], 1, 2))
    gates[[0, 30], 0, 1] = 1, 0.5
    return Lives(transition, waits[:, None], None, version, latents, gates)


def test_a_story_by_hand():
    rng = np.random.default_rng(0)
    life, room = _life(rng), Room(3, 3, has_goal=True)
    facts = Facts(rng.random((5, 40)) < 0.5, rng.random((5, 40, 9)) < 0.5, rng.integers(9, size=40))
    fitted = Fitted(room, fit_readout(rng.normal(size=(5, 40, 2, 3)), facts, room), {})
    story = explore.tell_story(life, 0, 2, fitted)
    walk, wait, back, again, last = story["parts"]
    assert [part["waits"] for part in story["parts"]] == [0, 1, 0, 1, 0]
    assert [part["paid"] for part in story["parts"]] == [1, 0, 1, 0, 1]
    assert (walk["from"], walk["to"], walk["step"]) == (0, [0, 0, 1, 2], [1, 2, 3, 4])
    assert (back["to"], last["to"]) == ([1, 2], [0, 2])
    assert walk["memory"] == [-1] * 4
    assert wait["step"][:3] == [1, 2, 3] and wait["step"][-1] == again["step"][-1] == _WAIT
    assert 60 < len(wait["step"]) <= 121 and len(wait["to"]) == len(wait["step"])
    cells = life.transition.next_obs[:, 0] @ [3, 1]
    np.testing.assert_array_equal(wait["to"], cells[3 + np.array(wait["step"])])
    assert len(set(wait["memory"])) <= 12 and back["memory"][-1] > wait["memory"][-1]
    memories = story["memories"]
    assert max(last["memory"]) == len(memories) - 1
    # Of gates that opened between two memories that are shown, none is lost.
    widest = [sorted(memory["gates"][latent] for memory in memories)[-2:] for latent in (0, 1)]
    assert widest == [["0", "0"], ["Z", "u"]]
    assert all(len(m["goal"]) == len(m["visited"]) == 9 for m in memories)
    # Two steps are a shortest way to cell 2; four are the most that are still direct.
    assert explore.walks_straight(story, 3) == [True, True, True]
    walk["to"] = [0, 0, 0, 1, 2]
    back["paid"] = 0
    assert explore.walks_straight(story, 3) == [False, False, True]


def test_shares_are_digits():
    shares = np.array([0, 0.004, 1 / 61, 10 / 61, 36 / 61, 1, 1.2])
    assert explore._digits(shares) == "001aAZZ"


@pytest.mark.parametrize(
    ("checkpoint", "wait", "message"),
    [
        ("dark_room", 10, "only agents with a memory, waits and one goal"),
        ("delayed_bandit", 10, "only agents with a memory, waits and one goal"),
        ("dark_room_wait", 0, "--wait 0: must be positive"),
    ],
)
def test_other_agents_are_refused(checkpoint, wait, message):
    with pytest.raises(ConfigError, match=message):
        explore.play(checkpoint, wait)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_the_command_writes_the_page(tmp_path):
    page = tmp_path / "explore.html"
    command = [sys.executable, "-m", "compad_jax.reports.explore", "dark_room_wait", "--wait=60"]
    subprocess.run([*command, f"--out={page}"], check=True, timeout=270)
    text = page.read_text(encoding="utf-8")
    assert "once for each of 81 goals" in text and len(text) < 2_000_000
