"""Histories from plain Python: written, checked, and trained on."""

import sys

import chex
import jax
import numpy as np
import pytest

from compad_jax import histories
from compad_jax.backend import sharding
from compad_jax.config import Config, ConfigError
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks
from compad_jax.histories.collection import has_lengths
from compad_jax.histories.dataset import dataset_shapes
from compad_jax.histories.export_hdf5 import export_histories
from compad_jax.histories.import_hdf5 import import_histories
from compad_jax.histories.store import hash_store, read_origin, read_store
from compad_jax.training.data import load_data
from compad_jax.training.loop import train
from compad_jax.training.metrics_log import read_metrics
from compad_jax.types import History, Transition
from tests.builders import override
from tests.histories import foreign

_CONFIG = override(Config(), env={"grid_size": foreign.GRID, "horizon": foreign.HORIZON})
_NAMES = ("states", "actions", "rewards", "next_states", "dones")


def _transition(task, stream, length):
    """One learner's life as lists: what a loop appends to."""
    kept = foreign.of_task(task)
    return Transition(*(kept[name][:length, stream].tolist() for name in _NAMES))


def _of_any_length():
    """For each task three histories, of 12 to 30 steps."""
    return [
        [History(_transition(task, stream, 12 + 2 * task + stream)) for stream in range(3)]
        for task in range(foreign.NUM_TASKS)
    ]


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


def _read(store):
    return read_store(store, read_origin(store))


def test_lists_of_any_length_are_written(store, capsys):
    settings = histories.write(store, _CONFIG.env, _of_any_length())
    assert settings["source"]["num_steps"] == 30 and settings["source"]["num_streams"] == 3
    read = _read(store)
    assert read.length.tolist() == [[12 + 2 * g + r for r in range(3)] for g in range(9)]
    for task, stream in np.ndindex(9, 3):
        for stored, given in zip(read.transition, _of_any_length()[task][stream][0], strict=True):
            np.testing.assert_array_equal(stored[task, stream, : len(given)], given)
    assert "histories of at most 30 steps" in capsys.readouterr().out


def test_equal_lengths_need_no_array_of_them(store):
    given = [[History(_transition(task, 0, 20))] for task in range(9)]
    histories.write(store, _CONFIG.env, given)
    assert _read(store).length is None


def test_padding_of_probabilities_is_uniform(store):
    def with_log_probs(history):
        log_probs = np.log(np.full((len(history.transition.action), 5), [0.6, 0.1, 0.1, 0.1, 0.1]))
        return history._replace(log_probs=log_probs)

    given = [[with_log_probs(x) for x in task] for task in _of_any_length()]
    histories.write(store, _CONFIG.env, given)
    log_probs = _read(store).log_probs
    assert log_probs.dtype == np.float16
    np.testing.assert_allclose(np.exp(log_probs[0, 0, :12, 0]), 0.6, rtol=1e-3)
    np.testing.assert_allclose(np.exp(log_probs[0, 0, 12:]), 0.2, rtol=1e-3)


def _drop_one(given):
    return [given[0][:2], *given[1:]]


def _drop_task(given):
    return given[:-1]


def _one_with_log_probs(given):
    few = given[0][0]._replace(log_probs=np.full((12, 5), np.log(0.2)))
    return [[few, *given[0][1:]], *given[1:]]


def _one_obs_more(given):
    steps = given[0][1].transition
    longer = History(steps._replace(obs=[*steps.obs, steps.next_obs[-1]]))
    return [[given[0][0], longer, *given[0][2:]], *given[1:]]


def _one_of_no_steps(given):
    return [*given[:8], [History(Transition([], [], [], [], [])), *given[8][1:]]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_one_obs_more, "^obs: task 0, stream 1: has 14 steps; must be 13, as of action"),
        (_one_of_no_steps, "^obs: task 8, stream 0: has 0 steps; must be 1"),
        (_drop_one, r"histories of a task are \[2, 3\]; must be equally many"),
        (_drop_task, "histories of 8 tasks; env.num_tasks=0: must be of 9"),
        (_one_with_log_probs, "optional arrays: .* must be the same of all histories"),
    ],
)
def test_uneven_histories_are_refused(store, change, message):
    with pytest.raises(ConfigError, match=message):
        histories.write(store, _CONFIG.env, change(_of_any_length()))


def test_what_is_wrong_after_the_end_of_a_history_does_not_matter(store):
    histories.write(store, _CONFIG.env, _of_any_length())
    history = _read(store)
    history.transition.obs[0, 0, 12:] = 2  # No way leads there.
    histories.write(f"{store}-2", _CONFIG.env, history)
    history.transition.obs[0, 0, 11] = 2
    with pytest.raises(ConfigError, match="next_obs: task 0, stream 0, step 10: "):
        histories.write(f"{store}-3", _CONFIG.env, history)


def test_lengths_are_looked_at(store):
    histories.write(store, _CONFIG.env, _of_any_length())
    history = _read(store)
    history.length[3, 1] = 31
    message = r"^length: task 3, stream 1, step 0: is 31; must be in \[1, 30\]"
    with pytest.raises(ConfigError, match=message):
        histories.write(f"{store}-2", _CONFIG.env, history)


def test_other_settings_than_those_of_the_store_are_named(store, tmp_path):
    settings = histories.write(store, _CONFIG.env, _of_any_length())
    config = override(_CONFIG, **settings, env={"horizon": 6})
    with pytest.raises(ConfigError, match=r"env\.horizon 5, now 6\); set them so, import again"):
        train(config, str(tmp_path / "run"))
    nowhere = override(_CONFIG, source=settings["source"])
    with pytest.raises(ConfigError, match=r"source\.name='imported': name their store by"):
        train(nowhere, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def _tiny(config, **env):
    """Settings of a training of ten steps that compiles fast."""
    return override(
        config,
        env={"grid_size": foreign.GRID} | env,
        model={"n_latent": 0, "tf_dropout": 0.0, "tf_attn_dropout": 0.0},
        optimizer={"num_warmup_steps": 2},
        train={"train_timesteps": 10, "log_every": 5, "eval_every": 10, "checkpoint_every": 10},
    )


def _metrics(config, directory):
    """Every number of a training but its rate."""
    train(config, directory)
    rows = read_metrics(directory)
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in rows]


def test_a_copy_that_was_exported_and_imported_trains_to_the_same_bits(
    debug_config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = override(_tiny(debug_config), data={"dir": "own"})
    own = _metrics(config, "run_own")
    export_histories("own", "own.hdf5")
    settings = import_histories("own.hdf5", "copy", config)
    assert hash_store("copy") == hash_store("own")
    assert _metrics(override(config, **settings), "run_copy") == own
    assert len(own) == 2 and own[0]["floor"] > 0 and own[-1]["validation_loss"] > 0


def test_histories_of_any_length_are_trained_on_without_floors(
    debug_config, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    config = _tiny(debug_config, horizon=foreign.HORIZON)
    config = override(config, **histories.write("store", config.env, _of_any_length()))
    rows = _metrics(config, "run")
    assert all(row["floor"] is None and np.isfinite(row["loss"]) for row in rows)
    assert "without log-probabilities: no loss has a floor" in capsys.readouterr().out


@pytest.mark.parametrize("streamed", [False, True])
def test_a_step_gets_histories_of_any_length(debug_config, store, streamed):
    """What is loaded has the shapes that the training step was compiled for."""
    config = _tiny(debug_config, horizon=foreign.HORIZON)
    config = override(config, **histories.write(store, config.env, _of_any_length()))
    config = override(config, data={"streamed": streamed})
    mesh, env = sharding.make_mesh(), make_env(config.env)
    num_tasks = len(split_tasks(env.num_tasks, config.env).train)
    shapes = dataset_shapes(config, env.spec, num_tasks, mesh, has_lengths=has_lengths(config))
    dataset = load_data(config, mesh, jax.random.key(0)).train(0)
    chex.assert_trees_all_equal_shapes_and_dtypes(dataset, shapes)
    length = np.asarray(dataset.length)
    assert set(np.ravel(length - 12 - 2 * dataset.task)) == {0, 1, 2}
    action = np.asarray(dataset.transition.action)
    after = np.arange(action.shape[-1]) >= length[..., None]
    assert not action[after].any() and action[~after].any()


def test_an_export_without_h5py_says_what_to_install(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"pip install h5py, or \.\[hdf5\]"):
        export_histories(store, f"{store}.hdf5")


def test_lengths_and_expert_actions_survive_a_round_trip(store, tmp_path):
    def with_target(history):
        return history._replace(target=[(a + 1) % 5 for a in history.transition.action])

    given = [[with_target(x) for x in task] for task in _of_any_length()]
    settings = histories.write(store, _CONFIG.env, given)
    assert settings["source"]["target"] == "optimal"
    export_histories(store, str(tmp_path / "x.hdf5"))
    config = override(_CONFIG, source={"target": "optimal"})
    import_histories(str(tmp_path / "x.hdf5"), str(tmp_path / "copy"), config)
    assert hash_store(str(tmp_path / "copy")) == hash_store(store)
    jax.tree.map(np.testing.assert_array_equal, _read(str(tmp_path / "copy")), _read(store))
    with pytest.raises(ConfigError, match="is there already"):
        export_histories(store, str(tmp_path / "x.hdf5"))
