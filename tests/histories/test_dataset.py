"""Which histories reach the device, as what, and in which batches."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks
from compad_jax.histories.dataset import dataset_shapes, make_datasets
from compad_jax.histories.sampler import plan_segments, sample_segments
from compad_jax.training.losses import loss_floor
from compad_jax.training.setup import load_datasets
from compad_jax.types import History, Transition
from tests.builders import override


def test_make_datasets_takes_the_named_tasks_only():
    num_tasks, num_streams, num_steps = 6, 3, 10
    shape = (num_tasks, num_streams, num_steps)
    rng = np.random.default_rng(0)
    action = np.arange(np.prod(shape)).reshape(shape)
    obs = np.repeat(action[..., None], 2, -1)
    log_probs = np.log(rng.dirichlet(np.ones(5), shape)).astype(np.float16)
    history = History(Transition(obs, action, action * 1.0, obs + 1, action % 2 == 0), log_probs)
    tasks = np.array([1, 4])
    parts = {"some": tasks, "other": np.array([5])}
    datasets = make_datasets(history, parts, partial(loss_floor, smoothing=0.1))
    np.testing.assert_array_equal(datasets["other"].transition.action, action[5])
    dataset = datasets["some"]
    chex.assert_shape(dataset.transition.obs, (6, num_steps, 2))
    chex.assert_shape([dataset.transition.action, dataset.floor], (6, num_steps))
    chex.assert_type(dataset.floor, jnp.float32)
    np.testing.assert_array_equal(dataset.task, [1, 1, 1, 4, 4, 4])
    np.testing.assert_array_equal(dataset.transition.action, action[tasks].reshape(6, num_steps))
    for i, (g, r) in enumerate([(1, 0), (1, 1), (1, 2), (4, 0), (4, 1), (4, 2)]):
        expected = loss_floor(jnp.asarray(log_probs[g, r]), 0.1)
        np.testing.assert_allclose(dataset.floor[i], expected, rtol=1e-5)


def test_held_out_tasks_are_in_no_training_batch(debug_config, tmp_path):
    """Through the collected store: a reward tells the goal of the history it lies in."""
    config = override(debug_config, data={"dir": str(tmp_path / "histories")})
    goals = np.asarray(make_env(config.env).tasks)
    split = split_tasks(len(goals), config.env)
    mesh = jax.sharding.Mesh(jax.devices()[:1], "data")
    datasets = jax.device_get(load_datasets(config, mesh))
    assert datasets.keys() == split._asdict().keys()
    for name, dataset in datasets.items():
        shapes = dataset_shapes(config, make_env(config.env).spec, len(getattr(split, name)))
        chex.assert_trees_all_equal_shapes_and_dtypes(dataset, shapes)

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
