"""The schedule at its corners, what decays, what is clipped."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from compad_jax.config import OptimizerConfig
from compad_jax.training.optimizer import make_optimizer, make_schedule


def test_schedule():
    schedule = make_schedule(OptimizerConfig(lr=0.02, num_warmup_steps=10), 110)
    assert schedule(0) == 0
    np.testing.assert_allclose(schedule(5), 0.01, rtol=1e-6)
    np.testing.assert_allclose(schedule(10), 0.02, rtol=1e-6)
    np.testing.assert_allclose(schedule(60), 0.01, rtol=1e-5)  # Half of the cosine.
    np.testing.assert_allclose(schedule(110), 0, atol=1e-9)
    np.testing.assert_allclose(schedule(500), 0, atol=1e-9)
    rates = np.array([schedule(step) for step in range(111)])
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()


def test_schedule_without_warmup_starts_at_the_full_rate():
    schedule = make_schedule(OptimizerConfig(lr=0.02, num_warmup_steps=0), 100)
    np.testing.assert_allclose(schedule(0), 0.02, rtol=1e-6)


def _params():
    return {
        "dense": {"kernel": jnp.full((3, 2), 2.0), "bias": jnp.full((2, 2), 2.0)},
        "positions": jnp.full((4, 3), 2.0),
    }


def test_decay_changes_kernels_only():
    """The bias has two dimensions here: the name must decide, not the shape."""
    config = OptimizerConfig(lr=0.1, num_warmup_steps=0, weight_decay=0.5)
    optimizer, params = make_optimizer(config, 100), _params()
    none = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(none, optimizer.init(params), params)
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.1 * 0.5 * 2.0, rtol=1e-5)
    np.testing.assert_array_equal(updates["dense"]["bias"], 0)
    np.testing.assert_array_equal(updates["positions"], 0)


def _two_updates(scale, grad_clip_norm):
    """Updates of the second step, after a small gradient and one of `scale`."""
    config = OptimizerConfig(
        lr=0.1, num_warmup_steps=0, weight_decay=0.0, grad_clip_norm=grad_clip_norm
    )
    optimizer, params = make_optimizer(config, 100), {"w": jnp.zeros(2)}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for size in (0.1, scale):
        updates, state = update({"w": size * jnp.array([0.6, 0.8])}, state, params)
    return updates["w"]


def test_gradients_are_clipped_by_their_global_norm():
    np.testing.assert_allclose(_two_updates(50.0, 1.0), _two_updates(1.0, 1.0), rtol=1e-5)
    assert not np.allclose(_two_updates(50.0, 100.0), _two_updates(1.0, 100.0), rtol=1e-3)
    assert not np.allclose(_two_updates(0.9, 1.0), _two_updates(0.5, 1.0), rtol=1e-3)


def test_update_equals_adamw_by_hand():
    config = OptimizerConfig(
        lr=0.1, num_warmup_steps=0, weight_decay=0.5, beta1=0.9, beta2=0.99, grad_clip_norm=10.0
    )
    optimizer = make_optimizer(config, 1000)
    kernel = np.array([[2.0, -1.0]])
    params = {"kernel": jnp.asarray(kernel, jnp.float32)}
    state = optimizer.init(params)
    mean, square = np.zeros(2), np.zeros(2)
    for step, gradient in enumerate([np.array([[0.3, -0.2]]), np.array([[0.1, 0.4]])], start=1):
        updates, state = optimizer.update({"kernel": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        direction = (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
        rate = 0.1 * 0.5 * (1 + np.cos(np.pi * (step - 1) / 1000))
        kernel = kernel - rate * (direction + 0.5 * kernel)
        np.testing.assert_allclose(params["kernel"], kernel, rtol=1e-5)


def test_schedule_must_outlast_its_warmup():
    with pytest.raises(ValueError, match="decay"):
        make_schedule(OptimizerConfig(num_warmup_steps=100), 100)


def test_muon_orthogonalises_matrices_and_leaves_the_rest_to_adamw():
    config = OptimizerConfig(name="muon", lr=0.1, num_warmup_steps=0, weight_decay=0.0)
    optimizer = make_optimizer(config, 100)
    shapes = {"dense": {"kernel": (8, 6), "bias": (6, 6)}, "head": {"kernel": (6, 5)}}
    params = jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))
    key = jax.random.key(0)
    gradient = jax.tree.map(lambda x: 1e-3 * jax.random.normal(key, x.shape), params)
    gradient["dense"]["kernel"] *= 2.0 ** jnp.arange(6)
    updates, _ = jax.jit(optimizer.update)(gradient, optimizer.init(params), params)
    singular = np.linalg.svd(updates["dense"]["kernel"], compute_uv=False)
    raw = np.linalg.svd(gradient["dense"]["kernel"], compute_uv=False)
    assert raw.max() / raw.min() > 20
    assert singular.max() / singular.min() < 2  # Newton-Schulz flattens the spectrum roughly.
    rms = np.sqrt(np.square(updates["dense"]["kernel"]).mean())
    np.testing.assert_allclose(rms, 0.1 * 0.2, rtol=0.3)  # An AdamW update has about 0.2 to 1.
    for name, leaf in (("dense", "bias"), ("head", "kernel")):
        sign = np.sign(gradient[name][leaf])  # All that AdamW's first step depends on.
        size = np.abs(updates[name][leaf]).max()
        np.testing.assert_allclose(updates[name][leaf], -size * sign, rtol=1e-2)


def test_muon_decays_matrices_only():
    config = OptimizerConfig(name="muon", lr=0.1, num_warmup_steps=0, weight_decay=0.5)
    params = _params() | {"head": {"kernel": jnp.full((3, 2), 2.0)}}
    optimizer = make_optimizer(config, 100)
    none = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimizer.update)(none, optimizer.init(params), params)
    np.testing.assert_allclose(updates["dense"]["kernel"], -0.1 * 0.5 * 2.0, rtol=1e-5)
    for kept in (updates["dense"]["bias"], updates["positions"], updates["head"]["kernel"]):
        np.testing.assert_array_equal(kept, 0)
