"""Dropout keeps what it says, unbiased."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.models.transformer import Dropout


@pytest.mark.parametrize(("rate", "rounded"), [(0.1, 26 / 256), (0.2, 51 / 256), (0.5, 0.5)])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate, rounded):
    x = jnp.ones((400, 500))
    rngs = {"dropout": jax.random.key(0)}
    out = np.asarray(Dropout(rate).apply({}, x, deterministic=False, rngs=rngs))
    assert abs((out == 0).mean() - rounded) < 0.005  # Four standard deviations.
    np.testing.assert_allclose(out[out != 0], 1 / (1 - rounded), rtol=1e-6)


def test_no_dropout_needs_no_key():
    x = jnp.arange(6.0)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, deterministic=True), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, deterministic=False), x)
