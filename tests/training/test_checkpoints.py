"""Checkpoints: what is kept, what is the best, and what damage does."""

import gc
import glob
import logging
import math
import os
import resource
import shutil
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.training.checkpoints import Checkpoints, SavedSteps
from compad_jax.training.made_of import MadeOf

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

_NAN = math.nan


def _state(step):
    """(params, rest) of a step, as training has them; small, and different at each step."""
    kernel = jnp.asarray(np.random.default_rng(step).normal(size=(40, 30)), jnp.float32)
    params = {"dense": {"kernel": kernel, "bias": jnp.full(3, step, jnp.bfloat16)}}
    opt_state = optax.adam(1e-3).init(params)
    return params, {"step": jnp.asarray(step, jnp.int32), "opt_state": opt_state}


def _save(workdir, scores, first=1):
    """Saves steps `first`, `first` + 1, ... with these scores."""
    with Checkpoints(workdir) as checkpoints:
        for step, score in enumerate(scores, start=first):
            checkpoints.save(step, *_state(step), score)


def _kept(workdir):
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.steps


def _latest(workdir):
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.restore_latest(*_state(0))


def _params(workdir, which):
    """(step, params) restored alone, once the parameters are those of that step."""
    with Checkpoints(workdir) as checkpoints:
        step, params = checkpoints.restore_params(_state(0)[0], which)
    chex.assert_trees_all_equal(params, _state(step)[0])
    return step


@pytest.fixture(autouse=True)
def _no_late_warnings():
    """Orbax drops coroutines of the other arrays when one is damaged; they warn when freed."""
    yield
    gc.collect()


@pytest.fixture
def workdir(tmp_path):
    return str(tmp_path / "run")


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory):
    """A run with steps 1, 2 and 3, of which the first is the best."""
    path = str(tmp_path_factory.mktemp("runs") / "run")
    _save(path, [0.6, 0.5, 0.1])
    return path


@pytest.fixture
def copy(three_steps, workdir):
    """The run of three steps, to be damaged."""
    shutil.copytree(three_steps, workdir)
    return workdir


def test_round_trip(three_steps):
    step, params, rest = _latest(three_steps)
    assert step == 3
    chex.assert_trees_all_equal((params, rest), _state(3))
    chex.assert_trees_all_equal_dtypes((params, rest), _state(3))
    assert isinstance(params["dense"]["kernel"], jax.Array)


def test_abstract_parameters_are_enough(three_steps):
    abstract = jax.eval_shape(lambda: _state(0)[0])
    placed = jax.sharding.SingleDeviceSharding(jax.devices()[1])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed), abstract
    )
    with Checkpoints(three_steps) as checkpoints:
        step, params = checkpoints.restore_params(abstract, "latest")
    chex.assert_trees_all_equal(params, _state(step)[0])
    assert params["dense"]["bias"].devices() == {jax.devices()[1]}


def test_nothing_saved(workdir):
    assert _latest(workdir) is None
    assert _kept(workdir) == []
    with Checkpoints(workdir) as checkpoints, pytest.raises(ConfigError, match="train first"):
        checkpoints.restore_params(_state(0)[0], "best")


def test_latest_two_and_the_best_are_kept(workdir):
    _save(workdir, [0.5, 0.7, 0.1, 0.3, _NAN])
    assert _kept(workdir) == [2, 4, 5]
    assert _params(workdir, "best") == 2
    assert _params(workdir, "latest") == 5
    _save(workdir, [0.2, 0.8, 0.4, 0.6], first=6)  # Opened again; another best.
    assert _kept(workdir) == [7, 8, 9]
    assert _params(workdir, "best") == 7


@pytest.mark.parametrize(
    ("scores", "best"), [([_NAN, -5.0, _NAN], 2), ([_NAN, _NAN, -5.0, -7.0, _NAN, _NAN], 3)]
)
def test_a_score_that_was_not_measured_is_never_the_best(workdir, scores, best):
    _save(workdir, scores)
    assert best in _kept(workdir)
    assert _params(workdir, "best") == best


def test_an_existing_step_is_replaced(workdir):
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(1, *_state(7), 0.1)
        checkpoints.save(1, *_state(1), 0.5)
        assert checkpoints.steps == [1]
    chex.assert_trees_all_equal(_latest(workdir)[1], _state(1)[0])


def _step_directory(workdir, step):
    return os.path.join(workdir, "checkpoints", str(step))


def _largest_file(directory):
    files = [f for f in glob.glob(f"{directory}/**", recursive=True) if os.path.isfile(f)]
    return max(files, key=os.path.getsize)


def _rewrite(path, change):
    with open(path, "rb") as file:
        content = bytearray(file.read())
    with open(path, "wb") as file:
        file.write(change(content))


def _flip_a_byte(directory):
    def flip(content):
        content[len(content) // 2] ^= 0xFF
        return content

    _rewrite(_largest_file(os.path.join(directory, "params")), flip)


def _truncate(directory):
    path = _largest_file(os.path.join(directory, "params"))
    _rewrite(path, lambda content: content[: len(content) // 2])


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
    damage(_step_directory(copy, 3))
    with caplog.at_level(logging.WARNING):
        step, params, rest = _latest(copy)
    assert step == 2
    chex.assert_trees_all_equal((params, rest), _state(2))
    assert "checkpoint 3 " in caplog.text
    assert _params(copy, "latest") == 2


def test_exchanged_arrays_are_found_by_the_checksum(copy, caplog):
    _exchange(_step_directory(copy, 3))
    _latest(copy)
    assert "checkpoint 3 is damaged (checksum of params)" in caplog.text


def test_a_damaged_optimiser_state_counts_too(copy):
    rest = os.path.join(_step_directory(copy, 3), "rest")
    _rewrite(_largest_file(rest), lambda content: content[: len(content) // 2])
    assert _latest(copy)[0] == 2
    assert _params(copy, "latest") == 3  # Its parameters are whole.


def test_a_damaged_best_step_is_replaced_by_the_latest(copy, caplog):
    assert _params(copy, "best") == 1
    _flip_a_byte(_step_directory(copy, 1))
    assert _params(copy, "best") == 3
    assert "checkpoint 1 is damaged" in caplog.text


def test_all_damaged(copy):
    for step in (1, 2, 3):
        _truncate(_step_directory(copy, step))
    with pytest.raises(ConfigError, match=r"no usable checkpoint.*3 is damaged.*1 is damaged"):
        _latest(copy)
    with pytest.raises(ConfigError, match="no usable checkpoint"):
        _params(copy, "best")


@pytest.mark.parametrize("damage", [_flip_a_byte, _empty])
def test_training_repairs_what_was_damaged(copy, damage):
    damage(_step_directory(copy, 2))
    damage(_step_directory(copy, 3))
    with Checkpoints(copy) as checkpoints:
        assert checkpoints.restore_latest(*_state(0))[0] == 1
        checkpoints.save(2, *_state(2), 0.95)  # Not the newest, but whole.
        assert checkpoints.restore_latest(*_state(0))[0] == 2
        checkpoints.save(3, *_state(3), 0.4)
    assert _latest(copy)[0] == 3
    assert _params(copy, "best") == 2
    _save(copy, [0.3], first=4)
    assert _kept(copy) == [2, 3, 4]


def test_what_is_missing_is_named(copy, caplog):
    shutil.rmtree(os.path.join(_step_directory(copy, 3), "rest"))
    assert _latest(copy)[0] == 2
    assert "checkpoint 3 has no rest; trying another" in caplog.text


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
    params = _state(0)[0]
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
            checkpoints.restore_params(_state(0)[0], "latest")


@pytest.fixture
def save_under_way(copy):
    """What Orbax has on disk while it saves step 4."""
    path = os.path.join(copy, "checkpoints", "4.orbax-checkpoint-tmp")
    os.makedirs(os.path.join(path, "params.orbax-checkpoint-tmp"))
    return path


def test_what_a_killed_save_left_is_removed(copy, save_under_way):
    assert _latest(copy)[0] == 3
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
        step, params = saved.restore_params(_state(0)[0], which)
    assert step == {"best": 1, "latest": 3}[which]
    chex.assert_trees_all_equal(params, _state(step)[0])
    assert _contents(copy) == before
    assert not caplog.records


def test_a_reader_makes_no_directory(workdir):
    with SavedSteps(workdir) as saved, pytest.raises(ConfigError, match="train first"):
        saved.restore_params(_state(0)[0], "latest")
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
        assert _removing(saved, {1}).restore_params(_state(0)[0], "best")[0] == 2
    assert "checkpoint 1 was removed meanwhile; trying another" in caplog.text


def test_a_reader_finds_what_was_saved_meanwhile(copy, three_steps):
    def save_step_4():
        if not os.path.exists(_step_directory(copy, 4)):
            shutil.copytree(_step_directory(three_steps, 3), _step_directory(copy, 4))

    with SavedSteps(copy) as saved:
        _removing(saved, {1, 2, 3}, save_step_4)
        step, params = saved.restore_params(_state(0)[0], "latest")
    assert step == 4
    chex.assert_trees_all_equal(params, _state(3)[0])


def test_a_reader_that_loses_every_step_says_so(copy):
    with SavedSteps(copy) as saved:
        message = "no usable checkpoint .*3 was removed meanwhile.*1 was removed meanwhile"
        with pytest.raises(ConfigError, match=message):
            _removing(saved, {1, 2, 3}).restore_params(_state(0)[0], "latest")


_BAD = [b"", b"\xff\xfe", b"3", b"[]", b"{}", b'{"score": "x", "params": 1}', b'{"layout": []']


@pytest.mark.parametrize("content", _BAD)
def test_a_bad_checksum_file_is_damage(copy, caplog, content):
    _rewrite(os.path.join(_step_directory(copy, 3), "checksum", "metadata"), lambda _: content)
    assert _latest(copy)[0] == 2
    assert "checkpoint 3 is damaged" in caplog.text


@pytest.mark.parametrize("layout", [b"[]", b'{"params": 3}', b"null"])
def test_a_bad_layout_is_damage(copy, layout):
    path = os.path.join(_step_directory(copy, 3), "checksum", "metadata")
    _rewrite(path, lambda x: x[: x.index(b'"layout"')] + b'"layout": ' + layout + b"}")
    assert _latest(copy)[0] == 2


@pytest.mark.parametrize("content", _BAD)
def test_a_bad_score_counts_as_not_measured(copy, content):
    path = os.path.join(_step_directory(copy, 1), "metrics", "metrics")
    _rewrite(path, lambda _: content)
    with SavedSteps(copy) as saved:
        assert saved.restore_params(_state(0)[0], "best")[0] == 2
    assert _params(copy, "best") == 2
    _save(copy, [0.1], first=4)
    assert _kept(copy) == [2, 3, 4]


_MADE_OF = MadeOf("c0ffee", 8, {"jax": "1", "numpy": "2"})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run whose checkpoint says what it was made of."""
    path = str(tmp_path_factory.mktemp("runs") / "run")
    with Checkpoints(path) as checkpoints:
        checkpoints.save(1, *_state(1), 0.5, _MADE_OF)
    return path


def test_other_histories_are_refused(recorded):
    with SavedSteps(recorded) as saved:
        message = r"checkpoint 1: trained on histories other than those .*; bring .* another --work"
        with pytest.raises(ConfigError, match=message):
            saved.restore_latest(*_state(0), _MADE_OF._replace(histories="0ther"))
        assert saved.restore_params(_state(0)[0], "latest")[0] == 1  # Acting needs none.


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
        assert saved.restore_latest(*_state(0), _MADE_OF._replace(**changes))[0] == 1
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == bool(text)
    assert all(text in line and "may differ by rounding" in line for line in lines)


def test_checkpoints_of_earlier_versions_say_nothing(three_steps, caplog):
    with SavedSteps(three_steps) as saved:
        assert saved.restore_latest(*_state(0), _MADE_OF)[0] == 3
    assert not caplog.records


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
    assert error.value.filename == _step_directory(copy, 4)
    assert _kept(copy) == [1, 2, 3]
    assert _latest(copy)[0] == 3
