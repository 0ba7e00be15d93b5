"""Collecting: every task learned once, stored, and read from then on."""

import dataclasses
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from compad_jax import envs
from compad_jax.config import default_config, from_dict
from compad_jax.config.checks import ConfigError
from compad_jax.envs import make_env, register_env
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.histories import collection
from compad_jax.types import History, Transition
from tests.builders import override, tasks_of


@pytest.fixture(scope="module")
def config(debug_config):
    return override(debug_config, env={"grid_size": 3}, source={"num_streams": 2, "num_steps": 40})


@pytest.fixture
def noise_source(monkeypatch):
    """A source that shows its task and scrambles its key: a learner that compiles fast.

    Called, it is replaced by one whose rewards are another multiple of the action.
    """

    def make_source(config, env, reward=0.5):
        shape = (config.num_streams, config.num_steps)

        def learn(key, task):
            obs = jnp.broadcast_to(task, (*shape, 2))
            step = jnp.arange(np.prod(shape), dtype=jnp.uint32).reshape(shape)
            action = ((jax.random.key_data(key).sum() + step) * jnp.uint32(2654435761) >> 20) % 5
            done = (step + 1) % env.spec.horizon == 0
            transition = Transition(obs, action, action * reward, obs, done)
            return History(transition, jnp.full((*shape, 5), -jnp.log(5.0)))

        return learn

    def use(reward):
        source = partial(make_source, reward=reward)
        monkeypatch.setattr(collection, "make_source", source)

    use(0.5)
    return use


def test_every_task_is_learned_with_noise_of_its_own(config, noise_source):
    history = collection.collect(config)
    chex.assert_shape(history.transition.action, (9, 2, 40))
    chex.assert_shape(history.log_probs, (9, 2, 40, 5))
    assert history.log_probs.dtype == np.float16
    tasks = np.asarray(tasks_of(make_env(config.env)))
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
    monkeypatch.setattr(collection.sharding, "make_local_mesh", lambda: mesh)
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


def test_what_a_source_of_ones_own_gets_wrong_makes_no_store(
    config, noise_source, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    noise_source(np.nan)
    message = r"^source\.name='mbie_eb': makes impossible reward: task 0, stream 0, step 0: is nan"
    with pytest.raises(ConfigError, match=message):
        collection.load_histories(config)
    assert not list(tmp_path.rglob("manifest.json"))


def test_of_two_at_once_one_collects_and_both_read(config, noise_source, tmp_path, monkeypatch):
    config = override(config, data={"dir": str(tmp_path / "histories")})
    calls, both_collect, real = [], threading.Barrier(2), collection.collect_parts

    def slow_collect(config, tasks):
        calls.append(config)
        with pytest.raises(threading.BrokenBarrierError):
            both_collect.wait(timeout=1)
        return real(config, tasks)

    monkeypatch.setattr(collection, "collect_parts", slow_collect)
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


def test_a_changed_source_gets_another_store(config, noise_source, tmp_path, monkeypatch):
    """Under the same name and with the same settings."""
    monkeypatch.chdir(tmp_path)
    first = collection.load_histories(config)
    noise_source(0.25)
    second = collection.load_histories(config)
    np.testing.assert_array_equal(second.transition.reward, first.transition.reward / 2)
    noise_source(0.5)
    chex.assert_trees_all_equal(collection.load_histories(config), first)
    assert len(os.listdir("data")) == 2


def test_histories_of_other_code_are_refused_where_the_folder_is_given(
    config, noise_source, tmp_path
):
    config = override(config, data={"dir": str(tmp_path / "histories")})
    collection.load_histories(config)
    noise_source(0.25)
    with pytest.raises(ConfigError, match="made by other code with the same settings"):
        collection.load_histories(config)


@dataclasses.dataclass(frozen=True)
class _MirroredRoom(DarkRoom):
    """The same room, its tasks in the opposite order."""

    def task(self, index):
        return super().task(self.num_tasks - 1 - index)


def test_a_changed_environment_gets_another_store(config, noise_source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(envs, "_FACTORIES", dict(envs._FACTORIES))
    first = collection.load_histories(config)
    register_env("dark_room", lambda config: _MirroredRoom(config.grid_size, config.horizon))
    second = collection.load_histories(config)
    np.testing.assert_array_equal(second.transition.obs, first.transition.obs[::-1])


_PRINT_PROGRAM_AND_HISTORY = """
import hashlib, jax
from compad_jax.config.command_line import load_config
from compad_jax.histories import collection
learn, _ = collection.make_learner(load_config("configs/debug.py"))
print(collection.program_hash(learn))
arrays = jax.tree.leaves(jax.device_get(jax.jit(learn)(3)))
print(hashlib.sha256(b"".join(x.tobytes() for x in arrays)).hexdigest())
"""


def _in_another_process(root, **environment):
    """The hashes of the program and of a history."""
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_PROGRAM_AND_HISTORY],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=250,
    )
    return done.stdout.split()


@pytest.mark.timeout(300)
def test_what_a_user_sets_for_jax_changes_nothing_or_the_store(debug_config, request):
    program, history = _in_another_process(request.config.rootpath)
    same = {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_NUM_CPU_DEVICES": "3", "PYTHONHASHSEED": "7"}
    assert _in_another_process(request.config.rootpath, **same) == [program, history]
    assert collection.program_hash(collection.make_learner(debug_config)[0]) == program
    with jax.enable_x64(True):
        assert collection.program_hash(collection.make_learner(debug_config)[0]) != program


_GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("source", ["mbie_eb", "ppo"])
def test_histories_are_those_that_were_recorded(source):
    """A teacher that changes unintended is seen here.

    Where a change is intended, delete the file: the next run records the histories anew.
    """
    config = default_config()
    config.env.grid_size, config.env.horizon, config.env.num_tasks = 3, 6, 2
    config.source.name, config.source.num_streams, config.source.num_steps = source, 2, 30
    config.source.mbie_eb.spread_random_actions = True
    config.source.mbie_eb.late_reward_ratio = 0.5
    config.source.ppo.rollout_length, config.source.ppo.batch_size = 10, 10
    config.source.ppo.lr = 1e-2
    history = collection.collect(from_dict(config.to_dict()))
    arrays = history.transition._asdict() | {"log_probs": history.log_probs}
    path = _GOLDEN / f"{source}.npz"
    if not path.exists():
        np.savez_compressed(path, **arrays)
        pytest.fail(f"{path}: recorded; commit it")
    with np.load(path) as recorded:
        assert set(recorded) == set(arrays)
        for name, array in arrays.items():
            tolerance = 2e-3 if name == "log_probs" else 0
            np.testing.assert_allclose(array, recorded[name], atol=tolerance, err_msg=name)


def test_optimal_targets_leave_the_histories_as_they_are(config):
    taken = collection.collect(config)
    optimal = collection.collect(override(config, source={"target": "optimal"}))
    chex.assert_trees_all_equal(taken.transition, optimal.transition)
    assert taken.target is None
    obs, probability = taken.transition.obs, np.exp(optimal.log_probs.astype(np.float32))
    goals = np.asarray(tasks_of(make_env(config.env)))[:, None, None]
    moves = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)])
    distance = np.abs(np.clip(obs[..., None, :] + moves, 0, 2) - goals[..., None, :]).sum(-1)
    best = distance == distance.min(-1, keepdims=True)
    np.testing.assert_allclose(probability, best / best.sum(-1, keepdims=True), atol=1e-3)
    assert np.take_along_axis(best, optimal.target[..., None], -1).all()
    several = best.sum(-1) > 1  # Equals are drawn anew, each about as often.
    first = optimal.target == best.argmax(-1)
    assert 0.3 < first[several].mean() < 0.7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": {"mbie_eb": {"late_reward_ratio": 0.1}}}, "late_reward_ratio must be 0"),
        ({"env": {"name": "unguided"}}, "unguided cannot tell optimal actions"),
    ],
)
def test_optimal_targets_that_nobody_can_tell_are_refused(config, changes, message):
    class Unguided(DarkRoom):
        optimal_actions = None

    register_env("unguided", lambda env: Unguided(env.grid_size, env.horizon))
    values = {"source": {"target": "optimal"}} | changes
    if "source" in changes:
        own = dataclasses.asdict(config.source.mbie_eb) | changes["source"]["mbie_eb"]
        values["source"] = {"target": "optimal", "mbie_eb": own}
    try:
        with pytest.raises(ConfigError, match=message):
            collection.make_learner(override(config, **values))
    finally:
        envs._FACTORIES.pop("unguided")
