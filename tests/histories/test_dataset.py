"""Which histories reach the device, as what, and in which batches."""

from functools import partial
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.backend import sharding
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks
from compad_jax.histories import dataset as dataset_module
from compad_jax.histories.dataset import (
    dataset_shapes,
    is_informative,
    make_datasets,
    tasks_of_process,
)
from compad_jax.histories.sampler import SegmentPlan, plan_segments, sample_segments
from compad_jax.training.losses import loss_floor
from compad_jax.training.setup import load_datasets
from compad_jax.types import History, Transition
from tests.builders import override, tasks_of


def _history(num_tasks=6, num_streams=3, num_steps=10):
    """Histories whose entries say where they are from; every fourth step is uniform."""
    shape = (num_tasks, num_streams, num_steps)
    rng = np.random.default_rng(0)
    action = np.arange(np.prod(shape)).reshape(shape)
    obs = np.repeat(action[..., None], 2, -1)
    log_probs = np.log(rng.dirichlet(np.ones(5), shape)).astype(np.float16)
    log_probs[..., ::4, :] = np.log(0.2)
    transition = Transition(obs, action, action * 1.0, obs + 1, action % 2 == 0)
    return History(transition, log_probs)


_FLOOR = partial(loss_floor, smoothing=0.1)


def test_make_datasets_takes_the_named_tasks_only():
    history, num_steps = _history(), 10
    action, log_probs = history.transition.action, history.log_probs
    tasks = np.array([1, 4])
    datasets = make_datasets(history, {"some": tasks, "other": np.array([5])}, _FLOOR)
    np.testing.assert_array_equal(datasets["other"].transition.action, action[5])
    dataset = datasets["some"]
    assert dataset.num_rows == 6
    chex.assert_shape(dataset.transition.obs, (6, num_steps, 2))
    chex.assert_shape([dataset.transition.action, dataset.floor], (6, num_steps))
    chex.assert_type(dataset.floor, jnp.float32)
    np.testing.assert_array_equal(dataset.task, [1, 1, 1, 4, 4, 4])
    np.testing.assert_array_equal(dataset.transition.action, action[tasks].reshape(6, num_steps))
    np.testing.assert_array_equal(dataset.is_target, np.tile(np.arange(num_steps) % 4 > 0, (6, 1)))
    for i, (g, r) in enumerate([(1, 0), (1, 1), (1, 2), (4, 0), (4, 1), (4, 2)]):
        probs = 0.9 * np.exp(log_probs[g, r].astype(float)) + 0.02
        np.testing.assert_allclose(dataset.floor[i], -(probs * np.log(probs)).sum(-1), rtol=1e-4)


def test_log_probabilities_of_other_tasks_reach_no_device():
    """Where one of them is read, it is seen."""
    seen = []

    def floor_fn(log_probs):
        jax.debug.callback(lambda x: seen.append(np.array(x)), log_probs[..., 0])
        return log_probs[..., 0].astype(jnp.float32)

    history = _history()
    number = np.arange(6, dtype=np.float16)[:, None, None, None]
    history = history._replace(log_probs=np.broadcast_to(number, history.log_probs.shape))
    make_datasets(history, {"train": np.array([0, 2]), "validation": np.array([3])}, floor_fn)
    jax.effects_barrier()
    assert {int(x) for part in seen for x in np.unique(part)} == {0, 2, 3}


@pytest.mark.parametrize(
    ("probs", "expected"),
    [
        ([0.2] * 5, False),
        ([0.2004, 0.1999, 0.1999, 0.1999, 0.1999], True),
        ([0.1] * 9 + [0.10009], False),  # In float16 the last is rounded to a neighbour.
        ([0.25, 0.25, 0.25, 0.25, 0.0], True),
        ([1.0, 0.0, 0.0, 0.0, 0.0], True),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_only_exactly_uniform_actions_say_nothing(probs, expected, dtype):
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs).astype(dtype)
    assert bool(is_informative(jnp.asarray(log_probs))) == expected


def test_without_log_probabilities_all_are_targets_and_no_floor_is_known(debug_config):
    history = _history()._replace(log_probs=None)
    dataset = make_datasets(history, {"": np.array([1])}, _FLOOR)[""]
    assert dataset.is_target.all()
    assert np.isnan(dataset.floor).all()
    with_them = make_datasets(_history(), {"": np.array([1])}, _FLOOR)[""]
    chex.assert_trees_all_equal_shapes_and_dtypes(dataset, with_them)


def test_devices_share_the_rows_and_the_windows_are_the_same():
    """Nine rows on eight devices: the seven that fill them up are never drawn."""
    mesh = sharding.make_mesh()
    assert mesh.size == 8
    parts = {"": np.array([0, 2, 5])}
    whole = make_datasets(_history(), parts, _FLOOR)[""]
    shared = make_datasets(_history(), parts, _FLOOR, mesh)[""]
    assert shared.num_rows == whole.num_rows == len(whole.task) == 9
    for x in jax.tree.leaves(shared._replace(num_rows=shared.task)):
        assert {shard.data.shape[0] for shard in x.addressable_shards} == {2}
    plan = SegmentPlan((2, 1), (3, 4), whole_history=False)
    draw = jax.jit(partial(sample_segments, plan=plan, batch_size=400))
    expected, segments = (draw(jax.random.key(0), dataset) for dataset in (whole, shared))
    chex.assert_trees_all_equal(segments, expected)
    rows = np.asarray(segments.action[:, 0, 0]) // 10
    assert set(rows) == {0, 1, 2, 6, 7, 8, 15, 16, 17}
    np.testing.assert_allclose(np.bincount(rows)[[0, 17]], 400 / 9, rtol=0.5)


def test_a_process_needs_the_tasks_of_its_rows_only():
    """One that has the third and fourth of eight devices: rows 4 to 7 of nine, two a device."""
    mesh, parts = sharding.make_mesh(), {"a": np.array([5, 0, 2]), "b": np.array([4])}
    assert set(tasks_of_process(parts, 3, mesh)) == {0, 2, 4, 5}  # It has all devices.
    placement = mock.Mock()
    placement.addressable_devices_indices_map = lambda shape: {
        i: (slice(i * shape[0] // 8, (i + 1) * shape[0] // 8),) for i in (2, 3)
    }
    with mock.patch.object(dataset_module.sharding, "split_batch", lambda _: placement):
        np.testing.assert_array_equal(tasks_of_process(parts, 3, mesh), [0, 2, 4])
        np.testing.assert_array_equal(tasks_of_process({"a": parts["a"]}, 3, mesh), [0, 2])


def test_datasets_are_the_same_from_the_tasks_they_need():
    mesh, parts, read = sharding.make_mesh(), {"": np.array([5, 2])}, np.array([2, 3, 5])
    some = jax.tree.map(lambda x: x[read], _history())
    expected = make_datasets(_history(), parts, _FLOOR, mesh)[""]
    chex.assert_trees_all_equal(make_datasets(some, parts, _FLOOR, mesh, read)[""], expected)


def test_held_out_tasks_are_in_no_training_batch(debug_config, tmp_path):
    """Through the collected store: a reward tells the goal of the history it lies in."""
    config = override(debug_config, data={"dir": str(tmp_path / "histories")})
    goals = np.asarray(tasks_of(make_env(config.env)))
    split = split_tasks(len(goals), config.env)
    mesh = sharding.make_mesh()
    placed = load_datasets(config, mesh)
    for name, dataset in placed.items():
        num_tasks = len(getattr(split, name))
        shapes = dataset_shapes(config, make_env(config.env).spec, num_tasks, mesh)
        chex.assert_trees_all_equal_shapes_and_dtypes(dataset, shapes)
        for x, y in zip(jax.tree.leaves(dataset), jax.tree.leaves(shapes), strict=True):
            assert x.sharding.is_equivalent_to(y.sharding, x.ndim)
    datasets = jax.device_get(placed)
    assert datasets.keys() == split._asdict().keys()

    def goals_of(transition, mask=True):
        paid = (transition.reward == 1) & mask
        return {tuple(cell) for cell in transition.next_obs[paid].tolist()}

    for name, dataset in datasets.items():
        expected = {tuple(goals[task].tolist()) for task in getattr(split, name)}
        assert goals_of(dataset.transition) == expected
        assert set(dataset.task) == set(getattr(split, name))
    draw = jax.jit(partial(sample_segments, plan=plan_segments(config), batch_size=400))
    batch = jax.device_get(draw(jax.random.key(0), datasets["train"]))
    seen = goals_of(batch.tokens.previous, batch.mask)
    assert seen == {tuple(goals[task].tolist()) for task in split.train}
