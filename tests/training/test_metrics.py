"""Means of several batches against NumPy, with batches of unequal size."""

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.training.metrics import average
from compad_jax.training.step import make_measure
from tests.builders import cut, make_model, random_transitions


def test_tokens_weigh_alike_and_an_absent_depth_is_not_a_number():
    metrics = {
        "loss": [1.0, 2.0],
        "floor": [0.5, 0.1],
        "num_tokens": [30.0, 10.0],
        "depth_nll": [[1.0, 0.0, 0.0], [2.0, 3.0, 0.0]],  # 0 where a batch has no such token.
        "depth_tokens": [[30.0, 0.0, 0.0], [5.0, 5.0, 0.0]],
        "grad_norm": [1.0, 3.0],
    }
    means = average(jax.tree.map(jnp.asarray, metrics, is_leaf=lambda x: isinstance(x, list)))
    np.testing.assert_allclose(means["loss"], (30 + 20) / 40)
    np.testing.assert_allclose(means["floor"], (15 + 1) / 40)
    np.testing.assert_allclose(means["depth_nll"], [(30 + 10) / 35, 3.0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(means["depth_tokens"], [17.5, 2.5, 0])
    assert (means["num_tokens"], means["grad_norm"]) == (20, 2)


def test_validation_batches_weigh_by_their_tokens(debug_config):
    """Two batches of unequal size are measured like all of their tokens together."""
    policy, params = make_model(debug_config)
    history = random_transitions(jax.random.key(0), policy.spec, (2, 24))
    short, long = cut(history, [6, 0, 3], 12), cut(history, [9, 10, 5], 12)
    batches = jax.tree.map(lambda *x: jnp.stack(x), short, long)
    together = jax.tree.map(lambda *x: jnp.concatenate(x)[None], short, long)
    measure = make_measure(policy, 0.1)
    apart, whole = measure(params, batches), measure(params, together)
    for name in ("loss", "nll", "accuracy", "depth_nll"):
        np.testing.assert_allclose(apart[name], whole[name], rtol=1e-5)
    empty = measure(params, jax.tree.map(lambda x: x[None], short))
    np.testing.assert_array_equal(np.isnan(empty["depth_nll"]), [False, True, False])
