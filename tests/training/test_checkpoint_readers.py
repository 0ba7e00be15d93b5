"""Readers of checkpoints beside saves that are under way, finished or killed."""

import glob
import os
import shutil

import chex
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.training.checkpoints import SavedSteps
from tests.training.saved import latest, state, step_directory


@pytest.fixture
def save_under_way(copy):
    """What Orbax has on disk while it saves step 4."""
    path = os.path.join(copy, "checkpoints", "4.orbax-checkpoint-tmp")
    os.makedirs(os.path.join(path, "params.orbax-checkpoint-tmp"))
    return path


def test_what_a_killed_save_left_is_removed(copy, save_under_way):
    assert latest(copy)[0] == 3
    assert not os.path.exists(save_under_way)


def _contents(directory):
    """Every file and folder, and when it was changed."""
    paths = glob.glob(f"{directory}/**", recursive=True, include_hidden=True)
    return {path: os.stat(path).st_mtime_ns for path in paths}


@pytest.mark.parametrize("which", ["best", "latest"])
def test_a_reader_beside_a_save_changes_nothing(copy, save_under_way, which, caplog):
    before = _contents(copy)
    with SavedSteps(copy) as saved:
        assert saved.steps == [1, 2, 3]
        step, params = saved.restore_params(state(0)[0], which)
    assert step == {"best": 1, "latest": 3}[which]
    chex.assert_trees_all_equal(params, state(step)[0])
    assert _contents(copy) == before
    assert not caplog.records


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / "run")


def test_a_reader_makes_no_directory(workdir):
    with SavedSteps(workdir) as saved, pytest.raises(ConfigError, match="train first"):
        saved.restore_params(state(0)[0], "latest")
    assert not os.path.exists(workdir)


def _removing(saved, steps, then=lambda: None):
    """Lets a training beside this reader remove steps once they were listed."""
    read = saved._read

    def remove_first(step, **items):
        if step in steps:
            shutil.rmtree(os.path.join(saved._directory, str(step)))
            then()
        return read(step, **items)

    saved._read = remove_first
    return saved


def test_a_reader_falls_back_where_a_step_is_removed_meanwhile(copy, caplog):
    with SavedSteps(copy) as saved:
        assert _removing(saved, {1}).restore_params(state(0)[0], "best")[0] == 2
    assert "checkpoint 1 was removed meanwhile; trying another" in caplog.text


def test_a_reader_finds_what_was_saved_meanwhile(copy, three_steps):
    def save_step_4():
        if not os.path.exists(step_directory(copy, 4)):
            shutil.copytree(step_directory(three_steps, 3), step_directory(copy, 4))

    with SavedSteps(copy) as saved:
        _removing(saved, {1, 2, 3}, save_step_4)
        step, params = saved.restore_params(state(0)[0], "latest")
    assert step == 4
    chex.assert_trees_all_equal(params, state(3)[0])


def test_a_reader_that_loses_every_step_says_so(copy):
    with SavedSteps(copy) as saved:
        message = "no usable checkpoint .*3 was removed meanwhile.*1 was removed meanwhile"
        with pytest.raises(ConfigError, match=message):
            _removing(saved, {1, 2, 3}).restore_params(state(0)[0], "latest")
