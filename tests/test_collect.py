"""Collecting: every task learned once, stored, and read from then on."""

import chex
import jax
import numpy as np
import pytest

from compad_jax import collect
from compad_jax.config import ConfigError
from compad_jax.envs import make_env
from tests.builders import override


@pytest.fixture(scope="module")
def config(debug_config):
    noise = {"random_action_rate": 0.3, "final_random_action_rate": 0.3}
    return override(
        debug_config,
        env={"grid_size": 3},
        source={"num_streams": 2, "num_steps": 40, "mbie_eb": noise},
    )


@pytest.fixture(scope="module")
def history(config):
    return collect.collect(config)


def test_every_task_is_learned(config, history):
    chex.assert_shape(history.transition.action, (9, 2, 40))
    chex.assert_shape(history.log_probs, (9, 2, 40, 5))
    assert history.log_probs.dtype == np.float16
    goals = np.asarray(make_env(config.env).tasks)[:, None, None]
    paid = history.transition.reward == 1
    assert paid.any((1, 2)).all()
    np.testing.assert_array_equal((history.transition.next_obs == goals).all(-1), paid)


def test_every_history_has_noise_of_its_own(history):
    noisy = history.transition.action != history.log_probs.argmax(-1)
    assert len(np.unique(noisy.reshape(18, 40), axis=0)) == 18


def test_several_calls_equal_one(config, history, monkeypatch):
    monkeypatch.setattr(collect, "_STEPS_A_CALL", 3 * 2 * 40)
    chex.assert_trees_all_equal(collect.collect(config), history)


def test_seed_decides(config, history):
    other = collect.collect(override(config, source={"seed": 1}))
    assert (other.transition.action != history.transition.action).any()


def test_collects_once_then_reads(config, history, tmp_path, monkeypatch, capsys):
    calls = []

    def count(config):
        calls.append(config)
        return history

    monkeypatch.setattr(collect, "collect", count)
    config = override(config, data={"dir": str(tmp_path / "histories")})
    first = collect.load_histories(config)
    assert "collected 720 steps of mbie_eb" in capsys.readouterr().out
    other_split = override(config, env={"split_seed": 5}, train={"seed": 3})
    again = collect.load_histories(other_split)
    assert len(calls) == 1
    assert not capsys.readouterr().out
    chex.assert_trees_all_equal(first, again, jax.tree.map(np.asarray, first))
    np.testing.assert_array_equal(first.transition.action, history.transition.action)

    with pytest.raises(ConfigError, match=r"source\.seed 0, now 1"):
        collect.load_histories(override(config, source={"seed": 1}))
    assert len(calls) == 1


def test_stores_of_other_settings_lie_apart(config, history, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(collect, "collect", lambda config: history)
    collect.load_histories(config)
    collect.load_histories(override(config, source={"seed": 1}))
    assert len(list((tmp_path / "data").iterdir())) == 2
