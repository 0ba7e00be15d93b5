import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.sources.actions import draw_action


def test_the_first_action_whose_cumulative_probability_exceeds_the_noise():
    log_probs = jnp.log(jnp.array([0.25, 0.5, 0.25]))
    noise = jnp.array([0.0, 0.2, 0.25, 0.7, 0.75, 0.999])
    actions = draw_action(noise, jnp.broadcast_to(log_probs, (6, 3)))
    np.testing.assert_array_equal(actions, [0, 0, 1, 1, 2, 2])


def test_frequencies_are_the_probabilities():
    probs = jnp.array([0.1, 0.0, 0.6, 0.3])
    noise = jax.random.uniform(jax.random.key(0), (100_000,))
    actions = draw_action(noise, jnp.broadcast_to(jnp.log(probs), (100_000, 4)))
    np.testing.assert_allclose(np.bincount(actions, minlength=4) / 100_000, probs, atol=0.006)


def test_never_draws_the_impossible_whatever_the_rounding():
    largest = jnp.full((), 1 - 2.0**-23)  # The largest that `jax.random.uniform` returns.
    for possible in range(1, 8):
        probs = jnp.where(jnp.arange(8) < possible, 1 / possible, 0.0)
        assert draw_action(largest, jnp.log(probs)) < possible
        assert draw_action(jnp.zeros(()), jnp.log(probs[::-1])) == 8 - possible
