"""Streamed histories: the windows and the results are those of histories in memory."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.backend import sharding
from compad_jax.config import ConfigError
from compad_jax.histories.sampler import make_sampler
from compad_jax.histories.streaming import StreamedHistories
from compad_jax.training.data import load_data
from compad_jax.training.loop import train
from compad_jax.training.metrics_log import read_metrics
from compad_jax.training.setup import make_keys
from compad_jax.training.step import step_keys, uses_dropout
from tests.builders import override


@pytest.fixture
def config(debug_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return debug_config


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_streamed_training_is_that_from_memory(config):
    """The same windows exactly, by their floors; the same numbers but for rounding."""
    train(config, "memory")
    train(override(config, data={"streamed": True}), "streamed")
    memory, streamed = read_metrics("memory"), read_metrics("streamed")
    for name in ("step", "num_tokens", "depth_tokens", "floor", "validation_floor"):
        assert [row.get(name) for row in streamed] == [row.get(name) for row in memory]
    for name in ("loss", "grad_norm"):
        values = [[row[name] for row in rows] for rows in (streamed, memory)]
        np.testing.assert_allclose(*values, rtol=1e-4)
    assert len(list(pathlib.Path("data").iterdir())) == 1  # Both read one store.


def test_windows_are_those_of_histories_in_memory(config):
    streamed = override(config, data={"streamed": True})
    mesh, key, sample = sharding.make_mesh(), make_keys(config).steps, make_sampler(config)
    memory = load_data(config, mesh, key).train(0)
    dispatch = load_data(streamed, mesh, key).train(5)
    for i in range(2):
        sample_key, _ = step_keys(key, jnp.array(5 + i), uses_dropout(config.model))
        histories = jax.tree.map(lambda x, i=i: x[i], dispatch)
        rows = jnp.arange(config.train.train_batch_size)
        found, expected = sample(sample_key, histories, rows=rows), sample(sample_key, memory)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_windows_of_a_step_do_not_depend_on_where_it_was_reached(config):
    streamed = override(config, data={"streamed": True})
    mesh, key = sharding.make_mesh(), make_keys(config).steps
    train_at = load_data(streamed, mesh, key).train
    in_order = [jax.device_get(train_at(step)) for step in (0, 5, 10)]
    resumed = jax.device_get(load_data(streamed, mesh, key).train(10))
    jax.tree.map(np.testing.assert_array_equal, in_order[2], resumed)
    assert (in_order[0].task != in_order[1].task).any()
    batch = config.train.train_batch_size
    assert resumed.task.shape == (config.train.log_every, batch)


def test_only_what_is_asked_for_is_read_and_what_comes_next():
    asked = []

    def read(rows):
        asked.append(int(rows[0, 0]))
        return rows

    stream = StreamedHistories(lambda step: np.array([[step]]), read, 5)
    assert stream(0) == 0
    assert stream(5) == 5
    assert stream(20) == 20  # Another training would have gone on at 10.
    stream.close()
    assert sorted(asked) == [0, 5, 10, 20, 25]


def test_a_damaged_history_ends_the_training_in_one_line(config):
    streamed = override(config, data={"streamed": True, "dir": "histories"})
    mesh, key = sharding.make_mesh(), make_keys(config).steps
    load_data(streamed, mesh, key)
    for path in pathlib.Path("histories", "records").rglob("*"):
        if path.is_file() and path.name != "zarr.json":
            content = bytearray(path.read_bytes())
            content[len(content) // 3] ^= 1
            path.write_bytes(content)
    with pytest.raises(ConfigError, match="histories/records: is damaged"):
        load_data(streamed, mesh, key).train(0)
