"""Files of other programs become stores, however they are laid out."""

import h5py
import numpy as np
import pytest

from compad_jax.config import ConfigError, EnvConfig
from compad_jax.histories.import_hdf5 import import_histories
from compad_jax.histories.store import read_origin
from tests.builders import override
from tests.histories import foreign
from tests.histories.imported import CONFIG, ENV, expected_of, read_imported, require_all_steps


def test_a_file_by_task_without_dones_and_final_states(path, store, capsys):
    """As most public collectors write it; the environment knows how episodes ended."""
    foreign.write_by_task(path)
    settings = import_histories(path, store, CONFIG, final_obs="env")
    require_all_steps(store)
    expected = {"name": "imported", "num_streams": 3, "num_steps": 30, "target": "taken"}
    assert settings == {"source": expected, "data": {"dir": store}}
    printed = capsys.readouterr().out
    assert "9 tasks x 3 histories of 30 steps" in printed
    assert "no log-probabilities: no loss will have a floor" in printed
    assert "no dones in the file: episodes end at the horizon" in printed
    assert "every step is what dark_room does" in printed


def test_a_file_like_xland(path, store, capsys):
    foreign.write_like_xland(path)
    import_histories(path, store, CONFIG)
    steps = require_all_steps(store, but=("next_obs",))
    np.testing.assert_array_equal(steps.next_obs[steps.done], steps.obs[steps.done])
    inner = ~expected_of("dones") & (np.arange(foreign.STEPS) < foreign.STEPS - 1)
    np.testing.assert_array_equal(steps.next_obs[inner], expected_of("next_states")[inner])
    assert read_imported(store).target is None
    assert "no next states in the file" in capsys.readouterr().out


def test_expert_actions_are_imitated_where_the_settings_say_so(path, store):
    foreign.write_like_xland(path)
    config = override(CONFIG, source={"target": "optimal"})
    assert import_histories(path, store, config)["source"]["target"] == "optimal"
    np.testing.assert_array_equal(read_imported(store).target, (expected_of("actions") + 1) % 5)
    foreign.write_by_task(path)
    with pytest.raises(ConfigError, match="has no expert_actions, which"):
        import_histories(path, f"{store}-2", config)


@pytest.mark.parametrize("per_task", [False, True])
def test_npz_files(tmp_path, store, per_task):
    path = str(tmp_path / "histories.npz")
    names = ("states", "actions", "rewards", "next_states", "dones")
    if per_task:
        tasks = range(foreign.NUM_TASKS)
        arrays = {f"{task}/{name}": foreign.of_task(task)[name] for task in tasks for name in names}
    else:
        arrays = {name: expected_of(name) for name in names}
    np.savez(path, **arrays)
    import_histories(path, store, CONFIG)
    require_all_steps(store)


@pytest.mark.parametrize(
    ("content", "message"), [(b"text", "is neither HDF5 nor npz"), (b"PK", "is no npz file")]
)
def test_other_files_are_refused(path, store, content, message):
    with open(path, "wb") as file:
        file.write(content)
    with pytest.raises(ConfigError, match=message):
        import_histories(path, store, CONFIG)


def test_groups_of_different_lengths(path, store):
    """Terminated and truncated apart, as Gymnasium has them; task n has 10 + n steps."""
    with h5py.File(path, "w") as file:
        for task in range(foreign.NUM_TASKS):
            kept, group = foreign.of_task(task, num_steps=10 + task), file.create_group(str(task))
            kept["terminated"] = np.zeros_like(kept["dones"])
            kept["truncated"] = kept.pop("dones")
            for name, data in kept.items():
                group.create_dataset(name, data=data)
    import_histories(path, store, CONFIG)
    history = read_imported(store)
    lengths = np.arange(10, 10 + foreign.NUM_TASKS)
    np.testing.assert_array_equal(history.length, np.tile(lengths[:, None], foreign.STREAMS))
    assert history.transition.action.shape == (9, 3, 18)
    for task, length in enumerate(lengths):
        kept = foreign.of_task(task, num_steps=length)
        np.testing.assert_array_equal(
            history.transition.obs[task, 2, :length], kept["states"][:, 2]
        )
        np.testing.assert_array_equal(
            history.transition.done[task, 1, :length], kept["dones"][:, 1]
        )
        assert not history.transition.done[task, :, length:].any()


def test_padding_behind_a_history_ends_no_episode(path, store):
    """A file with lengths and without dones: the last real step is in the middle of an episode."""
    length = 13
    with h5py.File(path, "w") as file:
        for task in range(foreign.NUM_TASKS):
            kept, group = foreign.of_task(task), file.create_group(str(task))
            for name in ("states", "actions", "rewards", "next_states"):
                kept[name][length:] = 0
                group.create_dataset(name, data=kept[name])
            group.create_dataset("lengths", data=np.full(foreign.STREAMS, length))
    import_histories(path, store, CONFIG)
    done = read_imported(store).transition.done
    kept = foreign.of_task(1)["dones"][:length, 2]
    assert not kept[-1]
    np.testing.assert_array_equal(done[1, 2, :length], kept)


def test_groups_in_shuffled_order_are_named_and_sorted(path, store):
    order = np.random.default_rng(1).permutation(foreign.NUM_TASKS)
    foreign.write_by_task(path, order, with_final=True)
    message = r"^reward: task 0, stream \d+, step \d+: is 1.0; must be 0.0: these histories are of "
    with pytest.raises(ConfigError, match=rf"{message}task {order[0]}: the groups are in shuffled"):
        import_histories(path, store, CONFIG)
    import_histories(path, store, CONFIG, tasks="match")
    require_all_steps(store)
    by_numbers = ",".join(str(task) for task in order)
    import_histories(path, f"{store}-2", CONFIG, tasks=by_numbers)
    require_all_steps(f"{store}-2")


@pytest.mark.parametrize("tasks", ["match", "0,1,2,3,4,5,6,7"])
def test_a_missing_task_is_named_whatever_the_order(path, store, tasks):
    foreign.write_by_task(path, with_final=True)
    with h5py.File(path, "a") as file:
        del file["8"]
    with pytest.raises(ConfigError, match=r"task 8 is missing \(1 of 9\); must be one for each"):
        import_histories(path, store, CONFIG, tasks=tasks)
    with pytest.raises(ConfigError, match=r"--tasks=0,1: must be .* as there are groups.*: 8$"):
        import_histories(path, store, CONFIG, tasks="0,1")


def test_an_own_encoding_of_observations(path, store):
    """Cells by one number in the file, by two in the environment."""
    foreign.write_by_task(path, but=(), with_final=True)
    with h5py.File(path, "a") as file:
        for group in file.values():
            for name in ("states", "next_states"):
                number = group[name][()] @ [foreign.GRID, 1]
                del group[name]
                group[name] = number
    with pytest.raises(
        ConfigError, match=r"obs: has shape \(1, 3, 30, 1\); must be \(1, 3, 30, 2\)"
    ):
        import_histories(path, store, CONFIG)

    def decode(x):
        return np.concatenate(np.divmod(x, foreign.GRID), -1)

    import_histories(path, store, CONFIG, encode_obs=decode)
    require_all_steps(store)


def test_the_environment_is_named_in_the_store(path, store):
    foreign.write_by_task(path, with_final=True)
    import_histories(path, store, CONFIG)
    origin = read_origin(store)
    assert origin.settings["env"]["grid_size"] == EnvConfig(**ENV).grid_size
    assert origin.program == "imported"


def test_a_store_is_never_replaced(path, tmp_path):
    foreign.write_by_task(path)
    with pytest.raises(ConfigError, match="is there already; name another"):
        import_histories(path, str(tmp_path), CONFIG)
