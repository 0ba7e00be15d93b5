"""What is said of memories by their age: sums over segments, and planted memories that are read."""

import numpy as np

from compad_jax.evaluation.lives import Lives
from compad_jax.evaluation.readout import Room
from compad_jax.types import Transition
from experiments import readouts


def test_sums_over_segments_by_hand():
    values = np.array([[1, 0], [0, 0], [1, 1], [1, 0], [5, 5]])
    np.testing.assert_array_equal(readouts.by_segment(values, 2), [[1, 0], [2, 1]])


def test_a_memory_that_forgets_is_read_only_while_it_knows(monkeypatch):
    monkeypatch.setattr(readouts, "_SHOWN", (1, 3))
    rng, size = np.random.default_rng(0), 400
    goal = rng.integers(3, size=(size, 2))
    # Everybody is paid in the second of nine steps, on the goal, and walks on elsewhere.
    obs = rng.integers(3, size=(10, size, 2))
    obs[2] = goal
    reward = np.zeros((9, size))
    reward[1] = 1
    transition = Transition(obs[:-1], reward, reward, obs[1:], reward > 5)
    one_of = (goal[..., None] == np.arange(3)).reshape(size, 2, 3)
    latents = np.stack([0 * one_of, one_of, one_of, rng.normal(size=one_of.shape)])
    lives = Lives(transition, reward > 5, None, None, latents, None)
    is_train = np.arange(size) < 300
    judged = readouts.judge_by_age(lives, is_train, Room(3, 3, True), length=3)
    assert set(judged) == {1, 3}
    assert judged[1]["lives"] == judged[3]["lives"] == 100
    assert judged[1]["goal"] > 0.95 and judged[3]["goal"] < 0.3
