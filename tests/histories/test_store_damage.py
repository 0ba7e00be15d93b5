"""Damage to stores, and manifests of something else: named, and never read as histories."""

import os

import numpy as np
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.histories import store, store_manifest, store_writer
from tests.damage import rewrite
from tests.histories.stored import (
    DTYPES,
    ORIGIN,
    assert_equal,
    change_manifest,
    file_of,
    history,
    write,
)


@pytest.fixture
def directory(tmp_path):
    """A store of `history()`."""
    return write(tmp_path)


def _flip(position):
    def change(content):
        content[int(position * (len(content) - 1))] ^= 0b100
        return content

    return change


def test_flipped_bits_never_change_what_is_read(directory):
    path = file_of(directory, task=0)
    for position in np.linspace(0, 1, 60):
        rewrite(path, _flip(position))
        with pytest.raises(ConfigError, match=f"{directory}/records: is damaged; "):
            store.read_store(directory, ORIGIN)
        rewrite(path, _flip(position))
    store.read_store(directory, ORIGIN)


def test_silently_exchanged_data_are_detected(directory, tmp_path):
    """Bytes that decode without any error, but are not what was written."""
    store_writer.write_store(str(tmp_path / "other"), history(seed=1), ORIGIN)
    os.replace(file_of(str(tmp_path / "other"), task=0), file_of(directory, task=0))
    with pytest.raises(ConfigError, match=r"/records: is damaged \(checksum\)"):
        store.read_store(directory, ORIGIN)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: rewrite(file_of(d, task=0), lambda content: content[: len(content) // 2]),
        lambda d: rewrite(file_of(d, task=0), lambda content: b""),
        lambda d: os.remove(file_of(d, task=0)),
        lambda d: os.remove(os.path.join(d, "records", "zarr.json")),
        lambda d: rewrite(os.path.join(d, "records", "zarr.json"), lambda content: b"{"),
    ],
    ids=["truncated", "emptied", "removed", "no metadata", "bad metadata"],
)
def test_other_damage_is_detected(directory, damage):
    damage(directory)
    with pytest.raises(ConfigError, match="/records: is damaged; "):
        store.read_store(directory, ORIGIN)


def test_damage_to_a_single_history_is_never_read(directory):
    """A flipped bit in each part of a file spoils the history that it belongs to, or the file."""
    opened, path, detected = store.Store(directory, ORIGIN), file_of(directory, task=0), []
    for position in np.linspace(0, 1, 60):
        rewrite(path, _flip(position))
        damaged = []
        for stream in range(4):
            place = np.array([0]), np.array([stream])
            try:
                assert_equal(opened.read_histories(*place), history(), place)
            except ConfigError as error:
                assert str(error).startswith(f"{directory}/records: is damaged; ")
                damaged.append(stream)
        rewrite(path, _flip(position))
        detected.append(tuple(damaged))
    assert set(detected) == {(0,), (1,), (2,), (3,), (0, 1, 2, 3)}


def test_missing_histories_are_not_read_as_zeros(directory):
    os.remove(file_of(directory, task=1))
    with pytest.raises(ConfigError, match="/records: is damaged"):
        store.Store(directory, ORIGIN).read_histories(np.array([1]), np.array([0]))


@pytest.mark.parametrize("content", [None, b"", b'{"format'])
def test_a_folder_without_a_whole_manifest_is_no_store(directory, content):
    path = os.path.join(directory, "manifest.json")
    if content is None:
        os.remove(path)
    else:
        rewrite(path, lambda _: content)
    with pytest.raises(ConfigError, match="is not a store of histories") as error:
        store.read_store(directory, ORIGIN)
    assert directory in str(error.value)
    assert "delete" not in str(error.value)  # It may be anybody's.


def _arrays(**changes):
    """What the manifest says of the arrays, but for changes."""
    arrays = {
        name: {"shape": list(x.shape), "dtype": DTYPES[name]}
        for name, x in history().arrays.items()
    }
    return {name: entry | changes.get(name, {}) for name, entry in arrays.items()}


def _read_all(directory):
    store.read_store(directory, ORIGIN)


def _read_one(directory):
    store.Store(directory, ORIGIN).read_histories(np.array([1]), np.array([2]))


@pytest.mark.parametrize("read", [_read_all, _read_one])
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"reward": {"dtype": "float64"}}, [3, 4, 1351]),
        ({"obs": {"shape": [3, 4, 50, 1]}}, [3, 4, 1101]),
        ({"obs": {"shape": [3, 4, 50, 2**62]}}, [3, 4, 50 * 2**62 + 1051]),
        ({name: {"shape": [3, 2, 50]} for name in DTYPES}, [3, 2, 650]),
    ],
)
def test_arrays_that_are_not_as_large_as_records_are_refused(directory, read, changes, wanted):
    change_manifest(directory, arrays=_arrays(**changes))
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
    change_manifest(directory, **changes)
    with pytest.raises(ConfigError) as error:
        store.read_store(directory, ORIGIN)
    assert str(error.value).startswith(os.path.join(directory, "manifest.json"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_array_that_the_manifest_does_not_list_is_missed(directory):
    path = os.path.join(directory, "manifest.json")
    rewrite(path, lambda content: content.replace(b'"reward"', b'"payment"'))
    with pytest.raises(ConfigError, match="payment, reward: missing or unknown"):
        store.read_store(directory, ORIGIN)


def test_another_format_version_is_refused(directory):
    change_manifest(directory, format_version=store_manifest.VERSION - 1)
    with pytest.raises(ConfigError, match="has another format version"):
        store.read_store(directory, ORIGIN)
