"""Histories on disk: whole and as asked for, or refused."""

import glob
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compad_jax.backend import files
from compad_jax.config import Config
from compad_jax.config.checks import ConfigError
from compad_jax.histories import store
from compad_jax.types import History, Transition
from tests.builders import override

_SETTINGS = {"env": {"grid_size": 9, "start": "center"}, "source": {"seed": 0, "lr": 3e-4}}
_ORIGIN = store.Origin(_SETTINGS, "c0de")
_ARRAYS = ("obs", "action", "reward", "next_obs", "done", "log_probs", "target")


def _history(seed=0):
    """Noise, [G, R, T] = [3, 4, 50]."""
    rng = np.random.default_rng(seed)
    shape = (3, 4, 50)
    return History(
        Transition(
            obs=rng.integers(9, size=(*shape, 2), dtype=np.int32),
            action=rng.integers(5, size=shape, dtype=np.int32),
            reward=rng.normal(size=shape).astype(np.float32),
            next_obs=rng.integers(300, size=(*shape, 2), dtype=np.int32),
            done=rng.random(shape) < 0.1,
        ),
        log_probs=rng.normal(size=(*shape, 5)).astype(np.float16),
        target=rng.integers(5, size=shape, dtype=np.int32),
    )


def _leaves(history):
    return history.transition._asdict() | {
        "log_probs": history.log_probs,
        "target": history.target,
    }


@pytest.fixture
def directory(tmp_path):
    """A store of `_history()`."""
    path = str(tmp_path / "histories")
    store.write_store(path, _history(), _ORIGIN)
    return path


def test_round_trip(directory):
    read = store.read_store(directory, _ORIGIN)
    assert isinstance(read, History)
    for name, array in _leaves(_history()).items():
        np.testing.assert_array_equal(_leaves(read)[name], array, err_msg=name)
    dtypes = {name: str(array.dtype) for name, array in _leaves(read).items()}
    assert dtypes == {
        "obs": "int8",  # As small as the values allow.
        "action": "int8",
        "reward": "float32",
        "next_obs": "int16",
        "done": "bool",
        "log_probs": "float16",
        "target": "int8",
    }


@settings(deadline=None, derandomize=True)
@given(
    hnp.arrays(np.int32, hnp.array_shapes(max_dims=2), elements=st.integers(-(2**31), 2**31 - 1))
)
def test_compact_integers_keep_their_values(array):
    compact = store._compact(array)
    assert compact.dtype.itemsize <= array.dtype.itemsize
    np.testing.assert_array_equal(compact, array)


def test_nothing_temporary_is_left(directory, tmp_path):
    assert os.listdir(tmp_path) == ["histories"]
    assert sorted(os.listdir(directory)) == sorted([*_ARRAYS, "manifest.json"])


def test_one_task_is_one_chunk(directory):
    with open(os.path.join(directory, "obs", ".zarray"), encoding="utf-8") as file:
        assert json.load(file)["chunks"] == [1, 4, 50, 2]


def test_other_settings_are_named(directory):
    other = {"env": {"grid_size": 7, "start": "center"}, "source": {"seed": 0, "lr": 1e-3}}
    with pytest.raises(ConfigError) as error:
        store.read_store(directory, _ORIGIN._replace(settings=other))
    message = str(error.value)
    assert "env.grid_size 9, now 7" in message
    assert "source.lr 0.0003, now 0.001" in message
    assert "start" not in message
    assert directory in message
    assert "--config.data.dir" in message
    assert "\n" not in message


def _chunk(directory, name):
    """A file that holds data of an array."""
    (path,) = glob.glob(os.path.join(directory, name, "0.*"))
    return path


def _rewrite(path, change):
    with open(path, "rb") as file:
        content = bytearray(file.read())
    with open(path, "wb") as file:
        file.write(change(content))


def _flip(position):
    def change(content):
        content[int(position * (len(content) - 1))] ^= 0b100
        return content

    return change


@pytest.mark.parametrize("name", _ARRAYS)
def test_flipped_bits_never_change_what_is_read(directory, name):
    path, detected = _chunk(directory, name), 0
    for position in np.linspace(0, 1, 15):
        _rewrite(path, _flip(position))
        try:
            read = store.read_store(directory, _ORIGIN)
        except ConfigError as error:
            assert f"{name}: is damaged" in str(error)
            detected += 1
        else:  # A byte that the codec does not use.
            np.testing.assert_array_equal(_leaves(read)[name], _leaves(_history())[name])
        _rewrite(path, _flip(position))
    assert detected > 5
    store.read_store(directory, _ORIGIN)


def test_silently_exchanged_data_are_detected(directory, tmp_path):
    """Bytes that decode without any error, but are not what was written."""
    store.write_store(str(tmp_path / "other"), _history(seed=1), _ORIGIN)
    os.replace(_chunk(str(tmp_path / "other"), "reward"), _chunk(directory, "reward"))
    with pytest.raises(ConfigError, match=r"reward: is damaged \(checksum\)"):
        store.read_store(directory, _ORIGIN)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: _rewrite(_chunk(d, "action"), lambda content: content[: len(content) // 2]),
        lambda d: _rewrite(_chunk(d, "action"), lambda content: b""),
        lambda d: os.remove(_chunk(d, "action")),
        lambda d: os.remove(os.path.join(d, "action", ".zarray")),
        lambda d: _rewrite(os.path.join(d, "action", ".zarray"), lambda content: b"{"),
    ],
    ids=["truncated", "emptied", "removed", "no metadata", "bad metadata"],
)
def test_other_damage_is_detected(directory, damage):
    damage(directory)
    with pytest.raises(ConfigError, match="action: is damaged"):
        store.read_store(directory, _ORIGIN)


@pytest.mark.parametrize("content", [None, b"", b'{"format'])
def test_a_folder_without_a_whole_manifest_is_no_store(directory, content):
    path = os.path.join(directory, "manifest.json")
    if content is None:
        os.remove(path)
    else:
        _rewrite(path, lambda _: content)
    with pytest.raises(ConfigError, match="is not a store of histories") as error:
        store.read_store(directory, _ORIGIN)
    assert directory in str(error.value)
    assert "delete" not in str(error.value)  # It may be anybody's.


@pytest.mark.parametrize("changes", [{"arrays": {}}, {"versions": {"jax": "9"}}])
def test_a_store_is_known_by_its_arrays(directory, tmp_path, changes):
    before = store.hash_store(directory)
    path = os.path.join(directory, "manifest.json")
    with open(path, encoding="utf-8") as file:
        manifest = json.load(file)
    files.write_json(path, manifest | changes)
    assert (store.hash_store(directory) == before) == ("versions" in changes)
    store.write_store(str(tmp_path / "other"), _history(seed=1), _ORIGIN)
    assert store.hash_store(str(tmp_path / "other")) != before


def test_another_format_version_is_refused(directory, monkeypatch):
    monkeypatch.setattr(store, "_VERSION", 1)
    with pytest.raises(ConfigError, match="has another format version"):
        store.read_store(directory, _ORIGIN)


@pytest.mark.parametrize("fails_at", [1, 4, len(_ARRAYS)])
def test_a_store_that_fails_midway_never_gets_its_name(tmp_path, monkeypatch, fails_at):
    path, calls, real_open = str(tmp_path / "histories"), [], store._open

    def open_until_the_disk_is_full(*arguments):
        calls.append(arguments)
        if len(calls) == fails_at:
            raise OSError("no space left on device")
        return real_open(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store, "_open", open_until_the_disk_is_full)
        with pytest.raises(OSError, match="no space"):
            store.write_store(path, _history(seed=1), _ORIGIN)
    assert os.listdir(tmp_path) == []
    store.write_store(path, _history(), _ORIGIN)
    assert os.listdir(tmp_path) == ["histories"]
    action = store.read_store(path, _ORIGIN).transition.action
    np.testing.assert_array_equal(action, _history().transition.action)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    path = str(tmp_path / "histories")
    ours = files.temporary_name(path)
    others = [
        f"{path}.partial",
        files.temporary_name(str(tmp_path / "mine")),
        f"{path}.abc.partial",
    ]
    for folder in (ours, *others):
        os.makedirs(f"{folder}/obs")
    with store.making(path):
        store.write_store(path, _history(), _ORIGIN)
    left = {os.path.join(tmp_path, name) for name in os.listdir(tmp_path)}
    assert left == {path, *others}
    store.read_store(path, _ORIGIN)


@pytest.mark.parametrize(
    ("group", "fields", "changes"),
    [
        ("env", {"split_seed": 7}, False),
        ("env", {"train_env_ratio": 0.5}, False),
        ("env", {"validation_ratio": 0.2}, False),
        ("train", {"seed": 7}, False),
        ("eval", {"num_seeds": 7}, False),
        ("source", {"ppo": {"lr": 1.0}}, False),  # Of a source that is not used.
        ("env", {"grid_size": 7}, True),
        ("env", {"horizon": 7}, True),
        ("env", {"start": "random"}, True),
        ("source", {"seed": 7}, True),
        ("source", {"num_streams": 7}, True),
        ("source", {"num_steps": 410}, True),
        ("source", {"mbie_eb": {"bonus": 0.3}}, True),
        ("source", {"name": "ppo"}, True),
    ],
)
def test_only_what_makes_histories_makes_another_store(group, fields, changes):
    old, new = (
        store.Origin(store.store_settings(config), "c0de")
        for config in (Config(), override(Config(), **{group: fields}))
    )
    assert (old != new) == changes
    names = [store.store_directory(Config(), origin) for origin in (old, new)]
    assert (names[0] != names[1]) == changes


def test_names_of_stores():
    config = Config()
    name = store.store_directory(config, _ORIGIN)
    assert name.startswith(os.path.join("data", "dark_room-mbie_eb-"))
    assert name != store.store_directory(config, _ORIGIN._replace(program="other"))
    assert store.store_directory(override(config, data={"dir": "mine"}), _ORIGIN) == "mine"


def test_settings_survive_the_manifest(tmp_path):
    path, origin = (
        str(tmp_path / "histories"),
        _ORIGIN._replace(settings=store.store_settings(Config())),
    )
    store.write_store(path, _history(), origin)
    store.read_store(path, origin)


def test_other_code_is_named(directory):
    with pytest.raises(ConfigError, match=r"made by other code with the same settings: .* JAX \("):
        store.read_store(directory, _ORIGIN._replace(program="0ther"))


def test_log_probabilities_may_be_missing(tmp_path):
    path = str(tmp_path / "histories")
    store.write_store(path, _history()._replace(log_probs=None), _ORIGIN)
    read = store.read_store(path, _ORIGIN)
    assert read.log_probs is None
    np.testing.assert_array_equal(read.transition.action, _history().transition.action)


def test_an_array_that_the_manifest_does_not_list_is_missed(directory):
    path = os.path.join(directory, "manifest.json")
    _rewrite(path, lambda content: content.replace(b'"reward"', b'"payment"'))
    with pytest.raises(ConfigError, match="payment, reward: missing or unknown"):
        store.read_store(directory, _ORIGIN)
