import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.sources.returns import generalized_advantages


def _oracle(reward, value, next_value, terminated, done, *, discount, gae_lambda):
    """The definition: a discounted sum of the deltas up to the end of the episode."""
    num_steps = len(reward)
    advantages = np.zeros(num_steps)
    for start in range(num_steps):
        weight = 1.0
        for t in range(start, num_steps):
            bootstrap = 0.0 if terminated[t] else discount * next_value[t]
            advantages[start] += weight * (reward[t] + bootstrap - value[t])
            weight *= discount * gae_lambda
            if done[t]:
                break
    return advantages


def test_equals_values_computed_by_hand():
    # Step 1 reaches a terminal state, step 2 is cut off, step 3 is the last one recorded.
    advantages = generalized_advantages(
        reward=jnp.array([1.0, 2.0, 0.0, 1.0]),
        value=jnp.array([2.0, 4.0, 8.0, 4.0]),
        next_value=jnp.array([4.0, 100.0, 16.0, 8.0]),
        terminated=jnp.array([False, True, False, False]),
        done=jnp.array([False, True, True, False]),
        discount=0.5,
        gae_lambda=0.5,
    )
    # Deltas: 1 + 2 - 2 = 1; 2 - 4 = -2; 0 + 8 - 8 = 0; 1 + 4 - 4 = 1.
    np.testing.assert_allclose(advantages, [1 + 0.25 * -2, -2, 0, 1], rtol=1e-6)


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.99, 0.95), (0.9, 0.0), (0.5, 1.0)])
def test_equals_a_loop_with_terminations_and_truncations(discount, gae_lambda):
    rng = np.random.default_rng(0)
    num_streams, num_steps = 5, 40
    reward, value, next_value = rng.normal(size=(3, num_streams, num_steps)).astype(np.float32)
    terminated = rng.random((num_streams, num_steps)) < 0.1
    truncated = rng.random((num_streams, num_steps)) < 0.1
    assert (terminated & ~truncated).any() and (truncated & ~terminated).any()
    streams = (reward, value, next_value, terminated, terminated | truncated)
    settings = {"discount": discount, "gae_lambda": gae_lambda}

    advantages = jax.vmap(functools.partial(generalized_advantages, **settings))(*streams)

    chex.assert_shape(advantages, (num_streams, num_steps))
    expected = [_oracle(*stream, **settings) for stream in zip(*streams, strict=True)]
    np.testing.assert_allclose(advantages, expected, rtol=1e-4, atol=1e-5)


def test_lambda_one_gives_the_return_minus_the_value():
    reward = jnp.array([1.0, 0.0, 4.0])
    value = jnp.array([3.0, 2.0, 1.0])
    done = jnp.array([False, False, True])
    advantages = generalized_advantages(
        reward, value, jnp.array([2.0, 1.0, 9.0]), done, done, discount=0.5, gae_lambda=1.0
    )
    np.testing.assert_allclose(advantages, jnp.array([2.0, 2.0, 4.0]) - value, rtol=1e-6)


def test_refuses_streams_side_by_side():
    streams = jnp.zeros((2, 3))
    with pytest.raises(AssertionError):
        generalized_advantages(
            streams, streams, streams, streams > 0, streams > 0, discount=0.9, gae_lambda=0.9
        )
