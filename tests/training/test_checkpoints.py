"""Checkpoints: what is kept, what is the best, and what they say they were made of."""

import math

import chex
import jax
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.training.checkpoints import Checkpoints, SavedSteps
from compad_jax.training.made_of import MadeOf
from tests.training.saved import kept, latest, restored_step, save, state

_NAN = math.nan
_MADE_OF = MadeOf("c0ffee", 8, {"jax": "1", "numpy": "2"})


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / "run")


def test_round_trip(three_steps):
    step, params, rest = latest(three_steps)
    assert step == 3
    chex.assert_trees_all_equal((params, rest), state(3))
    chex.assert_trees_all_equal_dtypes((params, rest), state(3))
    assert isinstance(params["dense"]["kernel"], jax.Array)


def test_abstract_parameters_are_enough(three_steps):
    abstract = jax.eval_shape(lambda: state(0)[0])
    placed = jax.sharding.SingleDeviceSharding(jax.devices()[1])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed), abstract
    )
    with Checkpoints(three_steps) as checkpoints:
        step, params = checkpoints.restore_params(abstract, "latest")
    chex.assert_trees_all_equal(params, state(step)[0])
    assert params["dense"]["bias"].devices() == {jax.devices()[1]}


def test_nothing_saved(workdir):
    assert latest(workdir) is None
    assert kept(workdir) == []
    with Checkpoints(workdir) as checkpoints, pytest.raises(ConfigError, match="train first"):
        checkpoints.restore_params(state(0)[0], "best")


def test_latest_two_and_the_best_are_kept(workdir):
    save(workdir, [0.5, 0.7, 0.1, 0.3, _NAN])
    assert kept(workdir) == [2, 4, 5]
    assert restored_step(workdir, "best") == 2
    assert restored_step(workdir, "latest") == 5
    save(workdir, [0.2, 0.8, 0.4, 0.6], first=6)  # Opened again; another best.
    assert kept(workdir) == [7, 8, 9]
    assert restored_step(workdir, "best") == 7


@pytest.mark.parametrize(
    ("scores", "best"), [([_NAN, -5.0, _NAN], 2), ([_NAN, _NAN, -5.0, -7.0, _NAN, _NAN], 3)]
)
def test_a_score_that_was_not_measured_is_never_the_best(workdir, scores, best):
    save(workdir, scores)
    assert best in kept(workdir)
    assert restored_step(workdir, "best") == best


def test_an_existing_step_is_replaced(workdir):
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(1, *state(7), 0.1)
        checkpoints.save(1, *state(1), 0.5)
        assert checkpoints.steps == [1]
    chex.assert_trees_all_equal(latest(workdir)[1], state(1)[0])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run whose checkpoint says what it was made of."""
    path = str(tmp_path_factory.mktemp("runs") / "run")
    with Checkpoints(path) as checkpoints:
        checkpoints.save(1, *state(1), 0.5, _MADE_OF)
    return path


def test_other_histories_are_refused(recorded):
    with SavedSteps(recorded) as saved:
        message = r"checkpoint 1: trained on histories other than those .*; bring .* another --work"
        with pytest.raises(ConfigError, match=message):
            saved.restore_latest(*state(0), _MADE_OF._replace(histories="0ther"))
        assert saved.restore_params(state(0)[0], "latest")[0] == 1  # Acting needs none.


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        ({"num_devices": 1}, "num_devices 8, now 1"),
        ({"versions": {"jax": "1", "numpy": "3"}}, "versions.numpy 2, now 3"),
    ],
)
def test_other_versions_and_devices_are_one_warning(recorded, caplog, changes, text):
    with SavedSteps(recorded) as saved:
        assert saved.restore_latest(*state(0), _MADE_OF._replace(**changes))[0] == 1
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == bool(text)
    assert all(text in line and "may differ by rounding" in line for line in lines)


def test_checkpoints_of_earlier_versions_say_nothing(three_steps, caplog):
    with SavedSteps(three_steps) as saved:
        assert saved.restore_latest(*state(0), _MADE_OF)[0] == 3
    assert not caplog.records
