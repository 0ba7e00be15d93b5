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
from compad_jax.histories import store, store_manifest, store_records, store_writer
from compad_jax.types import History, Transition
from tests.builders import override

_SETTINGS = {"env": {"grid_size": 9, "start": "center"}, "source": {"seed": 0, "lr": 3e-4}}
_ORIGIN = store.Origin(_SETTINGS, "c0de")
_DTYPES = {
    "obs": "int8",  # As small as the values allow.
    "action": "int8",
    "reward": "float32",
    "next_obs": "int16",
    "done": "bool",
    "log_probs": "float16",
    "target": "int8",
    "length": "int8",
}


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
        length=rng.integers(1, 51, size=shape[:2], dtype=np.int32),
    )


def _assert_equal(read, expected, where=...):
    """Every array is that of other histories, there."""
    assert list(read.arrays) == list(expected.arrays)
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(read.arrays[name], array[where], err_msg=name)


@pytest.fixture
def directory(tmp_path):
    """A store of `_history()`."""
    path = str(tmp_path / "histories")
    store_writer.write_store(path, _history(), _ORIGIN)
    return path


def test_round_trip(directory):
    read = store.read_store(directory, _ORIGIN)
    assert isinstance(read, History)
    _assert_equal(read, _history())
    assert {name: str(array.dtype) for name, array in read.arrays.items()} == _DTYPES
    for array in read.arrays.values():
        assert array.flags.c_contiguous
        assert array.flags.aligned


def test_a_record_has_the_bytes_of_each_array_in_turn(directory):
    records = store_records.open_records(os.path.join(directory, "records")).read().result()
    arrays = {name: x.astype(_DTYPES[name]) for name, x in _history().arrays.items()}
    for place in np.ndindex(3, 4):
        expected = b"".join(array[place].tobytes() for array in arrays.values())
        assert records[place].tobytes() == expected


@pytest.mark.parametrize(("block", "sizes"), [(1, [1, 1, 1]), (11_000, [2, 1]), (10**9, [3])])
def test_blocks_of_tasks_are_read_as_all_at_once(directory, monkeypatch, block, sizes):
    """A task has 4 records of 1,151 bytes."""
    monkeypatch.setattr(store, "_BLOCK", block)
    read, real_checksums = [], store.checksums

    def checksums(records):
        read.append(len(records))
        return real_checksums(records)

    monkeypatch.setattr(store, "checksums", checksums)
    _assert_equal(store.read_store(directory, _ORIGIN), _history())
    assert read == sizes


@settings(deadline=None, derandomize=True)
@given(
    hnp.arrays(np.int32, hnp.array_shapes(max_dims=2), elements=st.integers(-(2**31), 2**31 - 1))
)
def test_compact_integers_keep_their_values(array):
    compact = array.astype(store_writer.compact_dtype(array))
    assert compact.dtype.itemsize <= array.dtype.itemsize
    np.testing.assert_array_equal(compact, array)


def test_nothing_temporary_is_left(directory, tmp_path):
    assert os.listdir(tmp_path) == ["histories"]
    assert sorted(os.listdir(directory)) == ["manifest.json", "records"]


def test_a_task_is_a_file_and_a_history_a_chunk(directory):
    with open(os.path.join(directory, "records", "zarr.json"), encoding="utf-8") as file:
        metadata = json.load(file)
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [1, 4, 1151]
    assert metadata["codecs"][0]["configuration"]["chunk_shape"] == [1, 1, 1151]


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


def _file_of(directory, task):
    """The file that holds the records of a task."""
    paths = glob.glob(os.path.join(directory, "records", "c", str(task), "**"), recursive=True)
    (path,) = filter(os.path.isfile, paths)
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


def test_flipped_bits_never_change_what_is_read(directory):
    path = _file_of(directory, task=0)
    for position in np.linspace(0, 1, 60):
        _rewrite(path, _flip(position))
        with pytest.raises(ConfigError, match=f"{directory}/records: is damaged; "):
            store.read_store(directory, _ORIGIN)
        _rewrite(path, _flip(position))
    store.read_store(directory, _ORIGIN)


def test_silently_exchanged_data_are_detected(directory, tmp_path):
    """Bytes that decode without any error, but are not what was written."""
    store_writer.write_store(str(tmp_path / "other"), _history(seed=1), _ORIGIN)
    os.replace(_file_of(str(tmp_path / "other"), task=0), _file_of(directory, task=0))
    with pytest.raises(ConfigError, match=r"/records: is damaged \(checksum\)"):
        store.read_store(directory, _ORIGIN)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: _rewrite(_file_of(d, task=0), lambda content: content[: len(content) // 2]),
        lambda d: _rewrite(_file_of(d, task=0), lambda content: b""),
        lambda d: os.remove(_file_of(d, task=0)),
        lambda d: os.remove(os.path.join(d, "records", "zarr.json")),
        lambda d: _rewrite(os.path.join(d, "records", "zarr.json"), lambda content: b"{"),
    ],
    ids=["truncated", "emptied", "removed", "no metadata", "bad metadata"],
)
def test_other_damage_is_detected(directory, damage):
    damage(directory)
    with pytest.raises(ConfigError, match="/records: is damaged; "):
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


def _change_manifest(directory, **changes):
    path = os.path.join(directory, "manifest.json")
    with open(path, encoding="utf-8") as file:
        manifest = json.load(file)
    files.write_json(path, manifest | changes)


def _arrays(**changes):
    """What the manifest says of the arrays, but for changes."""
    arrays = {
        name: {"shape": list(x.shape), "dtype": _DTYPES[name]}
        for name, x in _history().arrays.items()
    }
    return {name: entry | changes.get(name, {}) for name, entry in arrays.items()}


def _read_all(directory):
    store.read_store(directory, _ORIGIN)


def _read_one(directory):
    store.Store(directory, _ORIGIN).read_histories(np.array([1]), np.array([2]))


@pytest.mark.parametrize("read", [_read_all, _read_one])
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"reward": {"dtype": "float64"}}, [3, 4, 1351]),
        ({"obs": {"shape": [3, 4, 50, 1]}}, [3, 4, 1101]),
        ({"obs": {"shape": [3, 4, 50, 2**62]}}, [3, 4, 50 * 2**62 + 1051]),
        ({name: {"shape": [3, 2, 50]} for name in _DTYPES}, [3, 2, 650]),
    ],
)
def test_arrays_that_are_not_as_large_as_records_are_refused(directory, read, changes, wanted):
    _change_manifest(directory, arrays=_arrays(**changes))
    with pytest.raises(ConfigError) as error:
        read(directory)
    message = f"{directory}/records: is damaged: is uint8 [3, 4, 1151]; must be uint8 {wanted} by"
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrays": {}}, "'arrays' are of 0 numbers of tasks and streams"),
        ({"arrays": _arrays(length={"shape": [3, 5]})}, "'arrays' are of 2 numbers"),
        ({"arrays": _arrays(length={"shape": [3]})}, "length: is no array of histories"),
        ({"arrays": _arrays(obs={"shape": [3, 4, 50.0]})}, "obs: is no array of histories"),
        ({"arrays": _arrays(obs={"shape": [3, 4, -50]})}, "obs: is no array of histories"),
        ({"arrays": _arrays(obs={"shape": [3, 4] + [10**9] * 999})}, "obs: is no array"),
        ({"arrays": _arrays(reward={"dtype": "object"})}, "reward: is no array of histories"),
        ({"arrays": _arrays(reward={"dtype": ">f4"})}, "reward: is no array of histories"),
        ({"arrays": _arrays(reward={"dtype": 4})}, "reward: 'dtype' is '4', of a wrong type"),
        ({"arrays": _arrays() | {"reward": 4}}, "reward: is no JSON object"),
        ({"sha256": ["c0de"] * 2}, "'sha256' has 2 checksums for 3 tasks"),
        ({"sha256": {}}, "'sha256' is '{}', of a wrong type"),
    ],
)
def test_a_manifest_of_no_histories_is_refused(directory, changes, message):
    _change_manifest(directory, **changes)
    with pytest.raises(ConfigError) as error:
        store.read_store(directory, _ORIGIN)
    assert str(error.value).startswith(os.path.join(directory, "manifest.json"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [{"sha256": ["c0de"] * 3}, {"versions": {"jax": "9"}}])
def test_a_store_is_known_by_its_arrays(directory, tmp_path, changes):
    before = store.hash_store(directory)
    _change_manifest(directory, **changes)
    assert (store.hash_store(directory) == before) == ("versions" in changes)
    store_writer.write_store(str(tmp_path / "other"), _history(seed=1), _ORIGIN)
    assert store.hash_store(str(tmp_path / "other")) != before


def test_another_format_version_is_refused(directory):
    _change_manifest(directory, format_version=store_manifest.VERSION - 1)
    with pytest.raises(ConfigError, match="has another format version"):
        store.read_store(directory, _ORIGIN)


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_store_that_fails_midway_never_gets_its_name(tmp_path, monkeypatch, fails_at):
    path, calls, real_open = str(tmp_path / "histories"), [], store_records.open_records

    def open_until_the_disk_is_full(*arguments):
        calls.append(arguments)
        if len(calls) == fails_at:
            raise OSError("no space left on device")
        return real_open(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store_records, "open_records", open_until_the_disk_is_full)
        with pytest.raises(OSError, match="no space"):
            store_writer.write_store(path, _history(seed=1), _ORIGIN)
    assert os.listdir(tmp_path) == []
    store_writer.write_store(path, _history(), _ORIGIN)
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
        os.makedirs(f"{folder}/records")
    with store_writer.making(path):
        store_writer.write_store(path, _history(), _ORIGIN)
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
    store_writer.write_store(path, _history(), origin)
    store.read_store(path, origin)


def test_other_code_is_named(directory):
    with pytest.raises(ConfigError, match=r"made by other code with the same settings: .* JAX \("):
        store.read_store(directory, _ORIGIN._replace(program="0ther"))


def test_log_probabilities_may_be_missing(tmp_path):
    path = str(tmp_path / "histories")
    store_writer.write_store(path, _history()._replace(log_probs=None), _ORIGIN)
    read = store.read_store(path, _ORIGIN)
    assert read.log_probs is None
    np.testing.assert_array_equal(read.transition.action, _history().transition.action)


def test_an_array_that_the_manifest_does_not_list_is_missed(directory):
    path = os.path.join(directory, "manifest.json")
    _rewrite(path, lambda content: content.replace(b'"reward"', b'"payment"'))
    with pytest.raises(ConfigError, match="payment, reward: missing or unknown"):
        store.read_store(directory, _ORIGIN)


def test_some_tasks_are_read_alone(directory):
    """Damage elsewhere does not matter to them; damage of theirs does."""
    chosen = np.array([0, 2])
    os.remove(_file_of(directory, task=1))
    read = store.read_store(directory, _ORIGIN, chosen)
    _assert_equal(read, _history(), chosen)
    with pytest.raises(ConfigError, match="/records: is damaged"):
        store.read_store(directory, _ORIGIN, np.array([0, 1]))


def test_single_histories_are_read_in_any_arrangement(directory):
    task, stream = np.array([[0, 2], [2, 1]]), np.array([[3, 0], [3, 3]])
    read = store.Store(directory, _ORIGIN).read_histories(task, stream)
    _assert_equal(read, _history(), (task, stream))


def test_damage_to_a_single_history_is_never_read(directory):
    """A flipped bit in each part of a file spoils the history that it belongs to, or the file."""
    opened, path, detected = store.Store(directory, _ORIGIN), _file_of(directory, task=0), []
    for position in np.linspace(0, 1, 60):
        _rewrite(path, _flip(position))
        damaged = []
        for stream in range(4):
            place = np.array([0]), np.array([stream])
            try:
                _assert_equal(opened.read_histories(*place), _history(), place)
            except ConfigError as error:
                assert str(error).startswith(f"{directory}/records: is damaged; ")
                damaged.append(stream)
        _rewrite(path, _flip(position))
        detected.append(tuple(damaged))
    assert set(detected) == {(0,), (1,), (2,), (3,), (0, 1, 2, 3)}


def test_missing_histories_are_not_read_as_zeros(directory):
    os.remove(_file_of(directory, task=1))
    with pytest.raises(ConfigError, match="/records: is damaged"):
        store.Store(directory, _ORIGIN).read_histories(np.array([1]), np.array([0]))


def test_a_store_is_read_at_an_address(directory):
    address = f"file://{directory}"
    assert store_records.is_address(address)
    assert store.hash_store(address) == store.hash_store(directory)
    read = store.read_store(address, _ORIGIN)
    _assert_equal(read, _history())
    place = np.array([2]), np.array([1])
    _assert_equal(store.Store(address, _ORIGIN).read_histories(*place), _history(), place)
    with pytest.raises(ConfigError, match="is not a store of histories"):
        store.read_store(f"{address}-elsewhere", _ORIGIN)
