"""Dropout keeps what it says, unbiased and without patterns; blocks skip what nobody reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.models.transformer import (
    Block,
    Dropout,
    _random_bytes,
    causal_mask,
    windows_variable,
)


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


def _drops(key, shape=(256, 1024)):
    """Where dropout at rate 0.2 drops, as deviations from the mean."""
    out = Dropout(0.2).apply({}, jnp.ones(shape), deterministic=False, rngs={"dropout": key})
    dropped = np.asarray(out == 0, np.float64)
    return dropped - dropped.mean()


def test_dropped_entries_are_uncorrelated():
    drops = _drops(jax.random.key(0))
    noise = 4 / drops.size**0.5  # Four standard deviations.
    lags = [drops.ravel()[:-lag] @ drops.ravel()[lag:] for lag in (1, 2, 3, 4, 8, 16, 1024)]
    assert np.abs(lags).max() / drops.size / drops.var() < noise
    # Rows and columns drop as often as they would by chance.
    for axis in (0, 1):
        spread = drops.mean(axis).var() * drops.shape[axis] / drops.var()
        assert abs(spread - 1) < 4 * (2 / drops.shape[1 - axis]) ** 0.5


def test_masks_of_neighbouring_keys_are_uncorrelated():
    keys = [jax.random.key(0), jax.random.key(1), jax.random.fold_in(jax.random.key(0), 1)]
    masks = [_drops(key).ravel() for key in keys]
    correlation = np.corrcoef(masks)[np.triu_indices(len(masks), k=1)]
    assert np.abs(correlation).max() < 4 / masks[0].size ** 0.5


def test_every_byte_is_as_likely():
    values = np.asarray(_random_bytes(jax.random.key(3), (1001, 1003), jnp.arange(1001)))
    counts = np.bincount(values.ravel(), minlength=256)
    expected = values.size / 256
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 255 + 5 * (2 * 255) ** 0.5


@pytest.mark.parametrize("shape", [(8, 6), (8, 3, 5), (24, 6)])  # Also of an odd size, and flat.
def test_a_window_is_masked_alike_wherever_it_is_worked_on(shape):
    def mask(x, window):
        rngs = {"dropout": jax.random.key(3)}
        variables = windows_variable(window)
        return Dropout(0.5).apply(variables, x, deterministic=False, rngs=rngs) == 0

    windows = jnp.arange(8)
    alone = np.asarray(jax.jit(mask)(jnp.ones(shape), windows))
    assert len({row.tobytes() for row in alone}) > 0.8 * len(alone)  # Nor are windows alike.
    rows = shape[0] // 8
    for some in ([0], [5, 2], [7, 6, 5, 4, 3, 2, 1, 0]):
        part = mask(jnp.ones((len(some) * rows, *shape[1:])), jnp.array(some))
        expected = alone.reshape(8, rows, *shape[1:])[np.array(some)].reshape(part.shape)
        np.testing.assert_array_equal(part, expected)


def test_positions_that_are_only_attended_to_change_nothing_else(debug_config):
    block = Block(debug_config.model, jnp.float32)
    x = jax.random.normal(jax.random.key(0), (2, 9, debug_config.model.tf_n_embd))
    mask = causal_mask(4, 5)
    variables = block.init(jax.random.key(1), x, mask)
    everywhere, cache = block.apply(variables, x, mask)
    tokens_only, same_cache = block.apply(variables, x, mask, skip=4)
    np.testing.assert_allclose(tokens_only, everywhere[:, 4:], atol=1e-6)
    np.testing.assert_allclose(same_cache.key, cache.key, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 9, 7), (4, 2, 9, 9)])  # Of tokens; of attention weights.
def test_a_shorter_window_is_masked_as_the_start_of_a_longer_one(shape):
    window, key = jnp.array([3, 0, 2, 7]), jax.random.key(0)
    whole = _random_bytes(key, shape, window)
    shorter = [size - 4 if size == 9 else size for size in shape]
    start = whole[tuple(map(slice, shorter))]
    np.testing.assert_array_equal(_random_bytes(key, tuple(shorter), window), start)


def test_no_two_places_have_the_same_bytes_by_construction():
    """As many words as there are in the attention weights of a batch of the original system."""
    values = _random_bytes(jax.random.key(0), (64, 4, 100, 100), jnp.arange(64))
    words = np.asarray(values).view(np.uint32)
    by_chance = words.size**2 / 2 / 2**32
    assert words.size - len(np.unique(words)) < 1.5 * by_chance
