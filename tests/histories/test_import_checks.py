"""What cannot be in a store, or is not what the environment does, is named."""

import h5py
import numpy as np
import pytest

from compad_jax.config import ConfigError
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.histories.import_hdf5 import import_histories
from tests.builders import override
from tests.histories import foreign
from tests.histories.imported import CONFIG, expected_of, require_all_steps


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
        import_histories(path, store, CONFIG)
    assert "\n" not in str(error.value)


def test_the_reset_state_as_the_terminal_next_state_is_named(path, store):
    foreign.write_by_task(path)
    message = (
        r"^next_obs: task 0, stream \d, step \d+: is \[1 1\], the next episode's first observation,"
        r" as at all 135 ends of episodes: the reset state is stored as the terminal next state"
    )
    with pytest.raises(ConfigError, match=message) as error:
        import_histories(path, store, CONFIG)
    assert "\n" not in str(error.value)
    import_histories(path, store, CONFIG, final_obs="previous")
    steps = require_all_steps(store, but=("next_obs",))
    np.testing.assert_array_equal(steps.next_obs[steps.done], steps.obs[steps.done])
    inner = ~expected_of("dones")
    np.testing.assert_array_equal(steps.next_obs[inner], expected_of("next_states")[inner])


def test_the_horizon_of_a_file_is_compared_with_that_of_the_environment(path, store):
    foreign.write_by_task(path, but=(), with_final=True)
    shorter, longer = (override(CONFIG, env={"horizon": horizon}) for horizon in (4, 6))
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
        import_histories(path, store, override(CONFIG, env={"horizon": 6}))


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
        import_histories(path, store, CONFIG)
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
        import_histories(path, store, CONFIG)


def test_an_environment_of_chance_is_not_compared(path, store, capsys):
    foreign.write_by_task(path, but=(), with_final=True)
    config = override(CONFIG, env={"start": "random"})
    import_histories(path, store, config)
    assert "not compared with dark_room, where chance decides" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="final_obs='env': dark_room cannot tell: chance decides"):
        import_histories(path, f"{store}-2", config, final_obs="env")
    with pytest.raises(ConfigError, match="cannot tell tasks of dark_room: chance decides"):
        import_histories(path, f"{store}-2", config, tasks="match")
