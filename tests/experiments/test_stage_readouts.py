"""What memories hold of goals in sequence: the truth by hand, and planted memories read back."""

import numpy as np
import pytest

from compad_jax.config.command_line import load_config
from compad_jax.envs.split import choose_tasks, split_tasks
from compad_jax.types import Transition
from experiments import stage_readouts


def _steps(reward, done):
    reward, done = (np.array(x)[:, None] for x in (reward, done))
    return Transition(reward, reward, reward.astype(float), reward, done.astype(bool))


def test_the_truth_by_hand():
    # An episode of four steps that reaches both goals, and one that reaches the first again.
    steps = _steps(reward=[0, 1, 1, 0, 1, 0], done=[0, 0, 0, 1, 0, 0])
    truth = stage_readouts.truth_of(steps, num_goals=2, length=1)
    np.testing.assert_array_equal(truth.stage[:, 0], [0, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(truth.known[:, 0, 0], [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(truth.known[:, 0, 1], [0, 0, 0, 1, 1, 1])
    # Of three tokens the last shows the step before it, and no later one.
    truth = stage_readouts.truth_of(steps, num_goals=2, length=3)
    np.testing.assert_array_equal(truth.stage[:, 0], [1, 1])
    np.testing.assert_array_equal(truth.known[:, 0], [[1, 0], [1, 1]])


def test_what_is_planted_is_read_and_what_is_not_is_not(monkeypatch):
    monkeypatch.setattr(stage_readouts, "_SHOWN", (1, 2))
    rng, lives = np.random.default_rng(0), 400
    goals, stage = rng.integers(3, size=(lives, 2, 2)), rng.integers(3, size=(2, lives))
    known = np.ones((2, lives, 2), bool)
    known[0, :, 1] = False  # Nobody has found the second goal when the first segment ends.
    one_of = np.eye(3)
    first_goal = np.broadcast_to(one_of[goals[:, 0]].reshape(lives, -1), (2, lives, 6))
    latents = np.concatenate([one_of[stage], first_goal, rng.normal(size=(2, lives, 6))], axis=-1)
    fitting = np.arange(lives) < 300
    truth = stage_readouts.Truth(stage, known)
    judged = stage_readouts.judge(latents, truth, goals, fitting, size=3)
    assert set(judged) == {1, 2}
    for shares in judged.values():
        assert shares["stage"] == shares["goal_1"] == 1
        assert 0.3 < shares["commonest"] < 0.5
    assert judged[1]["goal_2"] is None
    assert judged[2]["goal_2"] < 0.4


class _Asked(Exception):
    """Lives in these tasks."""


def test_lives_are_lived_in_the_training_and_held_out_tasks(monkeypatch):
    def record(policy, params, env, tasks, **_):
        raise _Asked(tasks)

    monkeypatch.setattr(stage_readouts, "record_lives", record)
    with pytest.raises(_Asked) as asked:
        stage_readouts.examine("dark_key_to_door")
    config = load_config("configs/dark_key_to_door.py").env
    split = split_tasks(config.num_tasks, config)
    numbers = choose_tasks(9**4, config.num_tasks)[np.concatenate([split.train, split.held_out])]
    digits = numbers[:, None] // 9 ** np.arange(3, -1, -1) % 9
    tasks = np.repeat(digits.reshape(-1, 2, 2), 2, axis=0)  # Two lives each.
    np.testing.assert_array_equal(asked.value.args[0], tasks)
