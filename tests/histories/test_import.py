"""Files of other programs become stores; whatever cannot be in one is named."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from compad_jax.config import Config, ConfigError, EnvConfig
from compad_jax.config.command_line import one_line_errors
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.histories import import_hdf5
from compad_jax.histories.import_hdf5 import import_histories
from compad_jax.histories.store import read_origin, read_store
from tests.builders import override
from tests.histories import foreign

_ENV = {"grid_size": foreign.GRID, "horizon": foreign.HORIZON}
_CONFIG = override(Config(), env=_ENV)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "histories.hdf5")


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


def _read(store):
    return read_store(store, read_origin(store))


def _expected(name):
    """An array of all tasks, streams first: [G, R, T, ...]."""
    tasks = [foreign.of_task(task)[name] for task in range(foreign.NUM_TASKS)]
    return np.swapaxes(np.array(tasks), 1, 2)


def _require_all_steps(store, but=()):
    steps = _read(store).transition
    foreign_names = ("states", "actions", "rewards", "next_states", "dones")
    for name, foreign_name in zip(steps._fields, foreign_names, strict=True):
        if name not in but:
            np.testing.assert_array_equal(getattr(steps, name), _expected(foreign_name), name)
    return steps


def test_a_file_by_task_without_dones_and_final_states(path, store, capsys):
    """As most public collectors write it; the environment knows how episodes ended."""
    foreign.write_by_task(path)
    settings = import_histories(path, store, _CONFIG, final_obs="env")
    _require_all_steps(store)
    expected = {"name": "imported", "num_streams": 3, "num_steps": 30, "target": "taken"}
    assert settings == {"source": expected, "data": {"dir": store}}
    printed = capsys.readouterr().out
    assert "9 tasks x 3 histories of 30 steps" in printed
    assert "no log-probabilities: no loss will have a floor" in printed
    assert "no dones in the file: episodes end at the horizon" in printed
    assert "every step is what dark_room does" in printed


def test_the_reset_state_as_the_terminal_next_state_is_named(path, store):
    foreign.write_by_task(path)
    message = (
        r"^next_obs: task 0, stream \d, step \d+: is \[1 1\], the next episode's first observation,"
        r" as at all 135 ends of episodes: the reset state is stored as the terminal next state"
    )
    with pytest.raises(ConfigError, match=message) as error:
        import_histories(path, store, _CONFIG)
    assert "\n" not in str(error.value)
    import_histories(path, store, _CONFIG, final_obs="previous")
    steps = _require_all_steps(store, but=("next_obs",))
    np.testing.assert_array_equal(steps.next_obs[steps.done], steps.obs[steps.done])
    inner = ~_expected("dones")
    np.testing.assert_array_equal(steps.next_obs[inner], _expected("next_states")[inner])


def test_a_file_like_xland(path, store, capsys):
    foreign.write_like_xland(path)
    import_histories(path, store, _CONFIG)
    steps = _require_all_steps(store, but=("next_obs",))
    np.testing.assert_array_equal(steps.next_obs[steps.done], steps.obs[steps.done])
    inner = ~_expected("dones") & (np.arange(foreign.STEPS) < foreign.STEPS - 1)
    np.testing.assert_array_equal(steps.next_obs[inner], _expected("next_states")[inner])
    assert _read(store).target is None
    assert "no next states in the file" in capsys.readouterr().out


def test_expert_actions_are_imitated_where_the_settings_say_so(path, store):
    foreign.write_like_xland(path)
    config = override(_CONFIG, source={"target": "optimal"})
    assert import_histories(path, store, config)["source"]["target"] == "optimal"
    np.testing.assert_array_equal(_read(store).target, (_expected("actions") + 1) % 5)
    foreign.write_by_task(path)
    with pytest.raises(ConfigError, match="has no expert_actions, which"):
        import_histories(path, f"{store}-2", config)


def test_groups_in_shuffled_order_are_named_and_sorted(path, store):
    order = np.random.default_rng(1).permutation(foreign.NUM_TASKS)
    foreign.write_by_task(path, order, with_final=True)
    message = r"^reward: task 0, stream \d+, step \d+: is 1.0; must be 0.0: these histories are of "
    with pytest.raises(ConfigError, match=rf"{message}task {order[0]}: the groups are in shuffled"):
        import_histories(path, store, _CONFIG)
    import_histories(path, store, _CONFIG, tasks="match")
    _require_all_steps(store)
    by_numbers = ",".join(str(task) for task in order)
    import_histories(path, f"{store}-2", _CONFIG, tasks=by_numbers)
    _require_all_steps(f"{store}-2")


@pytest.mark.parametrize("per_task", [False, True])
def test_npz_files(tmp_path, store, per_task):
    path = str(tmp_path / "histories.npz")
    names = ("states", "actions", "rewards", "next_states", "dones")
    if per_task:
        tasks = range(foreign.NUM_TASKS)
        arrays = {f"{task}/{name}": foreign.of_task(task)[name] for task in tasks for name in names}
    else:
        arrays = {name: _expected(name) for name in names}
    np.savez(path, **arrays)
    import_histories(path, store, _CONFIG)
    _require_all_steps(store)


def test_groups_of_different_lengths(path, store):
    """Terminated and truncated apart, as Gymnasium has them; task n has 10 + n steps."""
    with h5py.File(path, "w") as file:
        for task in range(foreign.NUM_TASKS):
            kept, group = foreign.of_task(task, num_steps=10 + task), file.create_group(str(task))
            kept["terminated"] = np.zeros_like(kept["dones"])
            kept["truncated"] = kept.pop("dones")
            for name, data in kept.items():
                group.create_dataset(name, data=data)
    import_histories(path, store, _CONFIG)
    history = _read(store)
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
    import_histories(path, store, _CONFIG)
    done = _read(store).transition.done
    kept = foreign.of_task(1)["dones"][:length, 2]
    assert not kept[-1]
    np.testing.assert_array_equal(done[1, 2, :length], kept)


def _put(name, where, value, dtype=None):
    """A change of the group of task 2."""

    def change(file):
        data = file[f"2/{name}"][()].astype(dtype or file[f"2/{name}"].dtype)
        data[where] = value
        del file[f"2/{name}"]
        file[f"2/{name}"] = data

    return change


def _put_whole(name, value):
    """Another array of the group of task 2."""

    def change(file):
        del file[f"2/{name}"]
        file[f"2/{name}"] = value

    return change


def _renumber_actions(file):
    for group in file.values():
        group["actions"][...] = np.array([1, 0, 2, 3, 4])[group["actions"][()]]


def _keep_two(file):
    for name in "2345678":
        del file[name]


def _rename(file):
    file.move("3", "99")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_put("rewards", (7, 1), np.nan, np.float32), "^reward: task 2, stream 1, step 7: is nan"),
        (_put("states", (7, 1, 0), np.nan, np.float32), "^obs: task 2, stream 1, step 7: is nan"),
        (
            _put("actions", (7, 1), 5),
            r"^action: task 2, stream 1, step 7: is 5; must be in \[0, 5\)",
        ),
        (
            _put("states", (7, 1, 0), 3),
            r"^obs: task 2, stream 1, step 7: is 3; must be in \[0, 3\)",
        ),
        (_put("dones", (7, 1), 2, np.uint8), "^done: has type uint8; must be truth values"),
        (
            _put("dones", (4, 1), False),
            r"^next_obs: task 2, stream 1, step 4: .*, unless done",
        ),
        (_put("dones", (2, 1), True), "^done: task 2, stream 1, step 2: is True; must be False"),
        (_put_whole("actions", np.zeros(30, int)), r"^group 2: actions has shape \(30,\); must"),
        (
            _put_whole("rewards", np.zeros((31, 3))),
            "^group 2: rewards has 31 steps, states 30; must",
        ),
        (
            _put_whole("states", np.zeros((30, 4, 2))),
            "^group 2: actions has 3 streams, states 4; must",
        ),
        (_put_whole("actions", np.zeros((29, 3), int)), "^group 2: actions has 29 steps, states 3"),
        (_renumber_actions, "does it number its actions otherwise, or is the horizon not 5"),
        (
            lambda file: file.pop("4"),
            r"group 4 is missing \(1 of 9\); must be one for each of the 9 tasks, 0 to 8 \(env.num",
        ),
        (_keep_two, r"groups 2, 3, 4, 5, 6... are missing \(7 of 9\); must be"),
        (_rename, r"group 3 is missing \(1 of 9\), group 99 is surplus \(1\); must be"),
        (lambda file: file.copy("3", "03"), r"several groups are of task \[3\]; must be one"),
        (lambda file: file.move("3", "goal"), "group .'goal'.: must be named by the number"),
        (lambda file: file["3"].pop("rewards"), "group 3: lacks rewards$"),
        (lambda file: file["3"].pop("dones"), "some groups have arrays that others lack"),
    ],
)
def test_what_cannot_be_in_a_store_is_named(path, store, change, message):
    foreign.write_by_task(path, but=(), with_final=True)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ConfigError, match=message) as error:
        import_histories(path, store, _CONFIG)
    assert "\n" not in str(error.value)


def test_the_horizon_of_a_file_is_compared_with_that_of_the_environment(path, store):
    foreign.write_by_task(path, but=(), with_final=True)
    shorter, longer = (override(_CONFIG, env={"horizon": horizon}) for horizon in (4, 6))
    with pytest.raises(
        ConfigError, match="step 4: steps without an end of the episode are 5; must"
    ):
        import_histories(path, store, shorter)
    with pytest.raises(ConfigError, match=r"^done: task 0, stream 0, step 4: is True; must be"):
        import_histories(path, store, longer)


def test_the_horizon_may_be_why_states_are_others(path, store):
    """Without dones, and with reset states as next states, only the start of episodes tells it."""
    foreign.write_by_task(path)
    message = r"^obs: task 0, stream 0, step 5: .* or is the horizon not 6\?\)$"
    with pytest.raises(ConfigError, match=message):
        import_histories(path, store, override(_CONFIG, env={"horizon": 6}))


def test_an_end_that_a_wrong_next_state_suggests_is_told_by_that(path, store):
    foreign.write_by_task(path, with_final=True)
    after = foreign.of_task(2)["states"][8, 0]
    wrong = (after + 1) % foreign.GRID
    with h5py.File(path, "a") as file:
        _put("next_states", (7, 0), wrong)(file)
    message = (
        f"next_obs: task 2, stream 0, step 7: is {wrong}, but the next state is {after}; taken as "
        "the end of an episode, which dark_room does not have there (or is the horizon not 5?)"
    )
    with pytest.raises(ConfigError) as error:
        import_histories(path, store, _CONFIG)
    assert str(error.value) == message


def test_an_end_that_a_file_without_dones_does_not_show_is_named(path, store, monkeypatch):
    """The environment ends an episode at the goal; in the file it goes on."""
    step_on = DarkRoom.step

    def step(*arguments):
        *same, reward, _ = step_on(*arguments)
        return *same, reward, reward > 0

    monkeypatch.setattr(DarkRoom, "step", step)
    foreign.write_by_task(path)
    rewards = foreign.of_task(0)["rewards"]
    stream = int(np.flatnonzero(rewards.any(0))[0])
    first = int(np.flatnonzero(rewards[:, stream])[0])
    assert (first + 1) % foreign.HORIZON
    message = f"^done: task 0, stream {stream}, step {first}: the file has none, and nothing in it "
    with pytest.raises(ConfigError, match=f"{message}ends the episode there, as dark_room does"):
        import_histories(path, store, _CONFIG)


@pytest.mark.parametrize("tasks", ["match", "0,1,2,3,4,5,6,7"])
def test_a_missing_task_is_named_whatever_the_order(path, store, tasks):
    foreign.write_by_task(path, with_final=True)
    with h5py.File(path, "a") as file:
        del file["8"]
    with pytest.raises(ConfigError, match=r"task 8 is missing \(1 of 9\); must be one for each"):
        import_histories(path, store, _CONFIG, tasks=tasks)
    with pytest.raises(ConfigError, match=r"--tasks=0,1: must be .* as there are groups.*: 8$"):
        import_histories(path, store, _CONFIG, tasks="0,1")


def test_a_file_that_is_not_there_is_a_wrong_name(path, store, capsys):
    with pytest.raises(SystemExit) as end, one_line_errors():
        import_hdf5.main([path, "--out", store, "--env", "dark_room"])
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {path}: no such file\n"


@pytest.mark.parametrize(
    ("content", "message"), [(b"text", "is neither HDF5 nor npz"), (b"PK", "is no npz file")]
)
def test_other_files_are_refused(path, store, content, message):
    with open(path, "wb") as file:
        file.write(content)
    with pytest.raises(ConfigError, match=message):
        import_histories(path, store, _CONFIG)


def test_a_store_is_never_replaced(path, tmp_path):
    foreign.write_by_task(path)
    with pytest.raises(ConfigError, match="is there already; name another"):
        import_histories(path, str(tmp_path), _CONFIG)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["f"], "--out"),
        (["f", "--out", "d"], "--env NAME or --config FILE is missing"),
        (["f", "--out", "d", "--env", "dark_room", "more"], r"stray argument \['more'\]"),
        (
            ["f", "--out", "d", "--env", "dark_room", "--config.env.size=3"],
            "no such setting 'size'",
        ),
        (["f", "--out", "d", "--env", "dark_room", "--final_obs=no"], "invalid choice: 'no'"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message):
    with pytest.raises(ConfigError, match=message):
        import_hdf5.main(arguments)


def test_settings_of_the_command_line():
    flags, config = import_hdf5.parse(
        ["f", "--out=d", "--config", "configs/debug.py", "--config.env.horizon=7", "--tasks=match"]
    )
    assert (config.env.grid_size, config.env.horizon) == (5, 7)
    assert (flags.file, flags.out, flags.tasks, flags.final_obs) == ("f", "d", "match", "checked")


def test_the_program(path, store):
    """In a process of its own: what it prints are settings to train with."""
    foreign.write_by_task(path, with_final=True)
    flags = ["--env", "dark_room", "--config.env.grid_size=3", "--config.env.horizon=5"]
    command = [sys.executable, "-m", "compad_jax.histories.import_hdf5", path, "--out", store]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert f"--config.data.dir={store} --config.source.name=imported" in done.stdout


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
        import_histories(path, store, _CONFIG)

    def decode(x):
        return np.concatenate(np.divmod(x, foreign.GRID), -1)

    import_histories(path, store, _CONFIG, encode_obs=decode)
    _require_all_steps(store)


def test_an_environment_of_chance_is_not_compared(path, store, capsys):
    foreign.write_by_task(path, but=(), with_final=True)
    config = override(_CONFIG, env={"start": "random"})
    import_histories(path, store, config)
    assert "not compared with dark_room, where chance decides" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="final_obs='env': dark_room cannot tell: chance decides"):
        import_histories(path, f"{store}-2", config, final_obs="env")
    with pytest.raises(ConfigError, match="cannot tell tasks of dark_room: chance decides"):
        import_histories(path, f"{store}-2", config, tasks="match")


def test_the_environment_is_named_in_the_store(path, store):
    foreign.write_by_task(path, with_final=True)
    import_histories(path, store, _CONFIG)
    origin = read_origin(store)
    assert origin.settings["env"]["grid_size"] == EnvConfig(**_ENV).grid_size
    assert origin.program == "imported"
