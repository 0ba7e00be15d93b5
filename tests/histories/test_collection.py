"""Collecting: every task learned once, stored, and read from then on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from compad_jax.config.checks import ConfigError
from compad_jax.envs import make_env
from compad_jax.histories import collection
from compad_jax.types import History, Transition
from tests.builders import override


@pytest.fixture(scope="module")
def config(debug_config):
    return override(debug_config, env={"grid_size": 3}, source={"num_streams": 2, "num_steps": 40})


@pytest.fixture
def noise_source(monkeypatch):
    """A source that shows its task and scrambles its key: a learner that compiles fast."""

    def make_source(config, env):
        shape = (config.num_streams, config.num_steps)

        def learn(key, task):
            obs = jnp.broadcast_to(task, (*shape, 2))
            step = jnp.arange(np.prod(shape), dtype=jnp.uint32).reshape(shape)
            action = ((jax.random.key_data(key).sum() + step) * jnp.uint32(2654435761) >> 20) % 5
            transition = Transition(obs, action, action * 0.5, obs, action == 0)
            return History(transition, jnp.full((*shape, 5), -jnp.log(5.0)))

        return learn

    monkeypatch.setattr(collection, "make_source", make_source)


def test_every_task_is_learned_with_noise_of_its_own(config, noise_source):
    history = collection.collect(config)
    chex.assert_shape(history.transition.action, (9, 2, 40))
    chex.assert_shape(history.log_probs, (9, 2, 40, 5))
    assert history.log_probs.dtype == np.float16
    tasks = np.asarray(make_env(config.env).tasks)
    np.testing.assert_array_equal(history.transition.obs[:, 1, 7], tasks)
    assert len(np.unique(history.transition.action[:, 0], axis=0)) == 9


@pytest.mark.parametrize("num_calls", [2, 9, 100])
def test_several_calls_equal_one(config, noise_source, monkeypatch, num_calls):
    expected = collection.collect(config)
    monkeypatch.setattr(collection, "_STEPS_A_CALL", 9 * 2 * 40 // num_calls)
    chex.assert_trees_all_equal(collection.collect(config), expected)


@pytest.mark.parametrize("num_devices", [1, 4])
def test_sharing_tasks_over_devices_changes_nothing(config, noise_source, monkeypatch, num_devices):
    """Nine tasks, which neither eight nor four devices share evenly."""
    assert jax.device_count() == 8
    expected = collection.collect(config)
    mesh = jax.make_mesh(
        (num_devices,), ("data",), (AxisType.Auto,), devices=jax.devices()[:num_devices]
    )
    monkeypatch.setattr(collection.sharding, "make_mesh", lambda: mesh)
    chex.assert_trees_all_equal(collection.collect(config), expected)


def test_seed_decides(config, noise_source):
    history, again = collection.collect(config), collection.collect(config)
    other = collection.collect(override(config, source={"seed": 1}))
    chex.assert_trees_all_equal(history, again)
    assert (other.transition.action != history.transition.action).any(-1).all()


def test_collects_once_then_reads(config, noise_source, tmp_path, monkeypatch, capsys):
    config = override(config, data={"dir": str(tmp_path / "histories")})
    first = collection.load_histories(config)
    assert "collected 720 steps of mbie_eb" in capsys.readouterr().out
    chex.assert_trees_all_equal(first, collection.collect(config))

    monkeypatch.setattr(collection, "collect", lambda config: pytest.fail("must not collect again"))
    other_split = override(config, env={"split_seed": 5}, train={"seed": 3})
    chex.assert_trees_all_equal(collection.load_histories(other_split), first)
    assert not capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"source\.seed 0, now 1"):
        collection.load_histories(override(config, source={"seed": 1}))


def test_of_two_at_once_one_collects_and_both_read(config, noise_source, tmp_path, monkeypatch):
    config = override(config, data={"dir": str(tmp_path / "histories")})
    calls, both_collect, real = [], threading.Barrier(2), collection.collect

    def slow_collect(config):
        calls.append(config)
        with pytest.raises(threading.BrokenBarrierError):
            both_collect.wait(timeout=1)
        return real(config)

    monkeypatch.setattr(collection, "collect", slow_collect)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(collection.load_histories, [config, config], timeout=60)
    assert len(calls) == 1
    chex.assert_trees_all_equal(first, second)
    assert [path.name for path in tmp_path.iterdir()] == ["histories"]


def test_stores_of_other_settings_lie_apart(config, noise_source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1, 0):
        collection.load_histories(override(config, source={"seed": seed}))
    assert len(list((tmp_path / "data").iterdir())) == 2
