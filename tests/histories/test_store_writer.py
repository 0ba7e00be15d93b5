"""How histories are written, and what is left behind where that fails."""

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compad_jax.backend import files
from compad_jax.histories import store, store_records, store_writer
from tests.histories.stored import DTYPES, ORIGIN, history, write


@pytest.fixture
def directory(tmp_path):
    """A store of `history()`."""
    return write(tmp_path)


def test_a_record_has_the_bytes_of_each_array_in_turn(directory):
    records = store_records.open_records(os.path.join(directory, "records")).read().result()
    arrays = {name: x.astype(DTYPES[name]) for name, x in history().arrays.items()}
    for place in np.ndindex(3, 4):
        expected = b"".join(array[place].tobytes() for array in arrays.values())
        assert records[place].tobytes() == expected


def test_a_task_is_a_file_and_a_history_a_chunk(directory):
    with open(os.path.join(directory, "records", "zarr.json"), encoding="utf-8") as file:
        metadata = json.load(file)
    assert metadata["chunk_grid"]["configuration"]["chunk_shape"] == [1, 4, 1151]
    assert metadata["codecs"][0]["configuration"]["chunk_shape"] == [1, 1, 1151]


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
            store_writer.write_store(path, history(seed=1), ORIGIN)
    assert os.listdir(tmp_path) == []
    store_writer.write_store(path, history(), ORIGIN)
    assert os.listdir(tmp_path) == ["histories"]
    action = store.read_store(path, ORIGIN).transition.action
    np.testing.assert_array_equal(action, history().transition.action)


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
        store_writer.write_store(path, history(), ORIGIN)
    left = {os.path.join(tmp_path, name) for name in os.listdir(tmp_path)}
    assert left == {path, *others}
    store.read_store(path, ORIGIN)
