"""Histories on disk: read whole and as asked for, from the store that the settings name."""

import os

import numpy as np
import pytest

from compad_jax.config import Config
from compad_jax.config.checks import ConfigError
from compad_jax.histories import store, store_records, store_writer
from compad_jax.types import History
from tests.builders import override
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


def test_round_trip(directory):
    read = store.read_store(directory, ORIGIN)
    assert isinstance(read, History)
    assert_equal(read, history())
    assert {name: str(array.dtype) for name, array in read.arrays.items()} == DTYPES
    for array in read.arrays.values():
        assert array.flags.c_contiguous
        assert array.flags.aligned


def test_log_probabilities_may_be_missing(tmp_path):
    path = str(tmp_path / "histories")
    store_writer.write_store(path, history()._replace(log_probs=None), ORIGIN)
    read = store.read_store(path, ORIGIN)
    assert read.log_probs is None
    np.testing.assert_array_equal(read.transition.action, history().transition.action)


@pytest.mark.parametrize(("block", "sizes"), [(1, [1, 1, 1]), (11_000, [2, 1]), (10**9, [3])])
def test_blocks_of_tasks_are_read_as_all_at_once(directory, monkeypatch, block, sizes):
    """A task has 4 records of 1,151 bytes."""
    monkeypatch.setattr(store, "_BLOCK", block)
    read, real_checksums = [], store.checksums

    def checksums(records):
        read.append(len(records))
        return real_checksums(records)

    monkeypatch.setattr(store, "checksums", checksums)
    assert_equal(store.read_store(directory, ORIGIN), history())
    assert read == sizes


def test_some_tasks_are_read_alone(directory):
    """Damage elsewhere does not matter to them; damage of theirs does."""
    chosen = np.array([0, 2])
    os.remove(file_of(directory, task=1))
    read = store.read_store(directory, ORIGIN, chosen)
    assert_equal(read, history(), chosen)
    with pytest.raises(ConfigError, match="/records: is damaged"):
        store.read_store(directory, ORIGIN, np.array([0, 1]))


def test_single_histories_are_read_in_any_arrangement(directory):
    task, stream = np.array([[0, 2], [2, 1]]), np.array([[3, 0], [3, 3]])
    read = store.Store(directory, ORIGIN).read_histories(task, stream)
    assert_equal(read, history(), (task, stream))


def test_a_store_is_read_at_an_address(directory):
    address = f"file://{directory}"
    assert store_records.is_address(address)
    assert store.hash_store(address) == store.hash_store(directory)
    read = store.read_store(address, ORIGIN)
    assert_equal(read, history())
    place = np.array([2]), np.array([1])
    assert_equal(store.Store(address, ORIGIN).read_histories(*place), history(), place)
    with pytest.raises(ConfigError, match="is not a store of histories"):
        store.read_store(f"{address}-elsewhere", ORIGIN)


def test_other_settings_are_named(directory):
    other = {"env": {"grid_size": 7, "start": "center"}, "source": {"seed": 0, "lr": 1e-3}}
    with pytest.raises(ConfigError) as error:
        store.read_store(directory, ORIGIN._replace(settings=other))
    message = str(error.value)
    assert "env.grid_size 9, now 7" in message
    assert "source.lr 0.0003, now 0.001" in message
    assert "start" not in message
    assert directory in message
    assert "--config.data.dir" in message
    assert "\n" not in message


def test_other_code_is_named(directory):
    with pytest.raises(ConfigError, match=r"made by other code with the same settings: .* JAX \("):
        store.read_store(directory, ORIGIN._replace(program="0ther"))


def test_settings_survive_the_manifest(tmp_path):
    path, origin = (
        str(tmp_path / "histories"),
        ORIGIN._replace(settings=store.store_settings(Config())),
    )
    store_writer.write_store(path, history(), origin)
    store.read_store(path, origin)


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
    name = store.store_directory(config, ORIGIN)
    assert name.startswith(os.path.join("data", "dark_room-mbie_eb-"))
    assert name != store.store_directory(config, ORIGIN._replace(program="other"))
    assert store.store_directory(override(config, data={"dir": "mine"}), ORIGIN) == "mine"


@pytest.mark.parametrize("changes", [{"sha256": ["c0de"] * 3}, {"versions": {"jax": "9"}}])
def test_a_store_is_known_by_its_arrays(directory, tmp_path, changes):
    before = store.hash_store(directory)
    change_manifest(directory, **changes)
    assert (store.hash_store(directory) == before) == ("versions" in changes)
    store_writer.write_store(str(tmp_path / "other"), history(seed=1), ORIGIN)
    assert store.hash_store(str(tmp_path / "other")) != before
