"""The life that a page shows: which one it is, what is told of it, and where less can be told."""

import dataclasses
import json

import numpy as np
import pytest

from compad_jax.config import EnvConfig
from compad_jax.envs import grid, make_env
from compad_jax.evaluation import shown_life
from compad_jax.evaluation.shown_life import lives_to_show, with_short_waits
from tests.builders import make_model, override

_WAITS = {"reward": "first_visit", "grid_size": 5, "horizon": 30, "max_wait": 200}


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, (-1, 0)),
        ({"wait": 20}, (20, 0)),
        ({"wait": 999}, (60, 0)),
        ({"max_wait": 300}, (60, 300)),
    ],
    ids=str,
)
def test_only_long_waits_are_shortened(given, then):
    config = with_short_waits(EnvConfig(reward="first_visit", **given))
    assert (config.wait, config.max_wait) == then


def test_a_life_in_a_room_is_told(debug_config):
    config = override(debug_config, env=_WAITS, model={"memory_update": "slot_gate"})
    policy, params = make_model(config)
    lives, fitted = shown_life.live_and_fit(config, policy, params)
    num_tasks = lives.waits.shape[1] // 2
    assert fitted.quality["fitted"] == 96 and fitted.quality["judged"] == 2 * num_tasks
    for number, life in enumerate(lives_to_show(config, policy, params)):
        assert json.loads(json.dumps(life, allow_nan=False)) == life
        rewards = lives.transition.reward.T.reshape(2, num_tasks, -1)[number]
        first = [row.argmax() if row.any() else -1 for row in rewards > 0]
        np.testing.assert_array_equal(life["reward"], rewards[int(np.argmax(first))])
        assert life["acting"] == ("greedy", "sample")[number] and life["shortened"]
        start, to, action = (np.array(life[name]) for name in ("from", "to", "action"))
        np.testing.assert_array_equal(to, grid.next_cells(5)[start, action])
        done = np.array(life["done"], bool)[:-1]
        np.testing.assert_array_equal(start[1:], np.where(done, 12, to[:-1]))
        paid = np.array(life["reward"]) > 0
        assert set(to[paid]) == {life["goal"]} - {None}
        assert paid.any() or number == 0  # An untrained policy may do the same for ever.
        num_versions = max(life["version"])
        assert np.shape(life["gates"]) == (num_versions, 4) and life["has_gates"]
        for belief in life["beliefs"].values():
            assert np.shape(belief) == (num_versions, 25)
            assert np.min(belief) >= 0 and np.max(belief) <= 100


def test_without_memory_or_room_less_is_told(debug_config):
    none = override(debug_config, model={"n_latent": 0})
    bandit = {"name": "delayed_bandit", "num_tasks": 30, "delayed_bandit": {"num_arms": 3}}
    bandit["delayed_bandit"] = dataclasses.asdict(debug_config.env.delayed_bandit) | {"num_arms": 3}
    for config in (none, override(debug_config, env=bandit, source={"name": "ucb"})):
        policy, params = make_model(config)
        life = lives_to_show(config, policy, params)[0]
        assert json.loads(json.dumps(life, allow_nan=False)) == life
        assert life["beliefs"] is None and life["quality"] is None
        if config is none:
            assert life["room"] == [5, 5] and not any(life["gates"]) and not life["has_gates"]
        else:
            assert life["room"] is life["from"] is life["to"] is life["goal"] is None
            assert np.shape(life["gates"])[1] == 4 and life["num_actions"] == 3


def test_training_tasks_may_all_be_evaluated(debug_config):
    env = {"grid_size": 3, "train_env_ratio": 0.5, "validation_ratio": 0.05}
    config = override(debug_config, env=env, eval={"split": "train"})
    assert make_env(config.env).num_tasks == 9  # Three are trained on, and all are shown.
    policy, params = make_model(config)
    assert all(life["beliefs"] is None for life in lives_to_show(config, policy, params))
