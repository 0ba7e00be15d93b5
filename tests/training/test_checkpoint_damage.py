"""Damage to checkpoints: noticed, and another step is used; what does not fit is no damage."""

import gc
import glob
import logging
import os
import resource
import shutil
import signal

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.training.checkpoints import Checkpoints, SavedSteps
from tests.damage import rewrite
from tests.training.saved import (
    kept,
    latest,
    restored_step,
    save,
    state,
    step_directory,
)

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _no_late_warnings():
    """Orbax drops coroutines of the other arrays when one is damaged; they warn when freed."""
    yield
    gc.collect()


def _largest_file(directory):
    files = [f for f in glob.glob(f"{directory}/**", recursive=True) if os.path.isfile(f)]
    return max(files, key=os.path.getsize)


def _flip_a_byte(directory):
    def flip(content):
        content[len(content) // 2] ^= 0xFF
        return content

    rewrite(_largest_file(os.path.join(directory, "params")), flip)


def _truncate(directory):
    path = _largest_file(os.path.join(directory, "params"))
    rewrite(path, lambda content: content[: len(content) // 2])


def _empty(directory):
    shutil.rmtree(directory)
    os.makedirs(directory)


def _exchange(directory):
    """Arrays that restore without any error, but are of another step."""
    other = os.path.join(os.path.dirname(directory), "1", "params")
    shutil.rmtree(os.path.join(directory, "params"))
    shutil.copytree(other, os.path.join(directory, "params"))


def _lose_the_checksum(directory):
    shutil.rmtree(os.path.join(directory, "checksum"))


_DAMAGES = [_flip_a_byte, _truncate, _empty, _exchange, _lose_the_checksum]


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_step_falls_back_to_the_one_before(copy, caplog, damage):
    damage(step_directory(copy, 3))
    with caplog.at_level(logging.WARNING):
        step, params, rest = latest(copy)
    assert step == 2
    chex.assert_trees_all_equal((params, rest), state(2))
    assert "checkpoint 3 " in caplog.text
    assert restored_step(copy, "latest") == 2


def test_exchanged_arrays_are_found_by_the_checksum(copy, caplog):
    _exchange(step_directory(copy, 3))
    latest(copy)
    assert "checkpoint 3 is damaged (checksum of params)" in caplog.text


def test_a_damaged_optimiser_state_counts_too(copy):
    rest = os.path.join(step_directory(copy, 3), "rest")
    rewrite(_largest_file(rest), lambda content: content[: len(content) // 2])
    assert latest(copy)[0] == 2
    assert restored_step(copy, "latest") == 3  # Its parameters are whole.


def test_a_damaged_best_step_is_replaced_by_the_latest(copy, caplog):
    assert restored_step(copy, "best") == 1
    _flip_a_byte(step_directory(copy, 1))
    assert restored_step(copy, "best") == 3
    assert "checkpoint 1 is damaged" in caplog.text


def test_all_damaged(copy):
    for step in (1, 2, 3):
        _truncate(step_directory(copy, step))
    with pytest.raises(ConfigError, match=r"no usable checkpoint.*3 is damaged.*1 is damaged"):
        latest(copy)
    with pytest.raises(ConfigError, match="no usable checkpoint"):
        restored_step(copy, "best")


@pytest.mark.parametrize("damage", [_flip_a_byte, _empty])
def test_training_repairs_what_was_damaged(copy, damage):
    damage(step_directory(copy, 2))
    damage(step_directory(copy, 3))
    with Checkpoints(copy) as checkpoints:
        assert checkpoints.restore_latest(*state(0))[0] == 1
        checkpoints.save(2, *state(2), 0.95)  # Not the newest, but whole.
        assert checkpoints.restore_latest(*state(0))[0] == 2
        checkpoints.save(3, *state(3), 0.4)
    assert latest(copy)[0] == 3
    assert restored_step(copy, "best") == 2
    save(copy, [0.3], first=4)
    assert kept(copy) == [2, 3, 4]


def test_what_is_missing_is_named(copy, caplog):
    shutil.rmtree(os.path.join(step_directory(copy, 3), "rest"))
    assert latest(copy)[0] == 2
    assert "checkpoint 3 has no rest; trying another" in caplog.text


_BAD = [b"", b"\xff\xfe", b"3", b"[]", b"{}", b'{"score": "x", "params": 1}', b'{"layout": []']


@pytest.mark.parametrize("content", _BAD)
def test_a_bad_checksum_file_is_damage(copy, caplog, content):
    rewrite(os.path.join(step_directory(copy, 3), "checksum", "metadata"), lambda _: content)
    assert latest(copy)[0] == 2
    assert "checkpoint 3 is damaged" in caplog.text


@pytest.mark.parametrize("layout", [b"[]", b'{"params": 3}', b"null"])
def test_a_bad_layout_is_damage(copy, layout):
    path = os.path.join(step_directory(copy, 3), "checksum", "metadata")
    rewrite(path, lambda x: x[: x.index(b'"layout"')] + b'"layout": ' + layout + b"}")
    assert latest(copy)[0] == 2


@pytest.mark.parametrize("content", _BAD)
def test_a_bad_score_counts_as_not_measured(copy, content):
    path = os.path.join(step_directory(copy, 1), "metrics", "metrics")
    rewrite(path, lambda _: content)
    with SavedSteps(copy) as saved:
        assert saved.restore_params(state(0)[0], "best")[0] == 2
    assert restored_step(copy, "best") == 2
    save(copy, [0.1], first=4)
    assert kept(copy) == [2, 3, 4]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: p["dense"].update(kernel=jnp.ones((40, 31))), r"float32\[40, 30\], not .*31"),
        (lambda p: p["dense"].update(kernel=jnp.ones((40, 30), jnp.bfloat16)), "float32.*bfloat16"),
        (lambda p: p["dense"].pop("bias"), r"dense/bias is bfloat16\[3\], not absent"),
        (lambda p: p.update(more=jnp.ones(2)), r"more is not there, not float32\[2\]"),
    ],
)
def test_a_checkpoint_of_other_parameters_is_not_damaged(three_steps, change, text):
    params = state(0)[0]
    change(params)
    with Checkpoints(three_steps) as checkpoints:
        message = f"params of checkpoint 3 does not fit these settings: .*{text}"
        with pytest.raises(ConfigError, match=message):
            checkpoints.restore_params(params, "latest")


def test_a_checkpoint_that_must_not_be_read_is_not_damaged(three_steps, monkeypatch):
    with Checkpoints(three_steps) as checkpoints:

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(checkpoints._reader, "restore", refuse)
        with pytest.raises(ConfigError, match=r"checkpoint 3 cannot be read .*Permission denied"):
            checkpoints.restore_params(state(0)[0], "latest")


def test_a_full_disk_keeps_the_steps_before(copy):
    """A limit on the size of a file stands for the disk."""
    large = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(600, 1000)), jnp.float32)}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Checkpoints(copy) as checkpoints:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
            with pytest.raises(OSError, match="File too large") as error:
                checkpoints.save(4, large, {"step": 4}, 0.1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert error.value.filename == step_directory(copy, 4)
    assert kept(copy) == [1, 2, 3]
    assert latest(copy)[0] == 3
