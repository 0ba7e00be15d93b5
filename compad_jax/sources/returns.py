"""Estimates of returns along one stream of experience."""

import chex
import jax
import jax.numpy as jnp


def generalized_advantages(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    *,
    discount: float,
    gae_lambda: float,
) -> jax.Array:
    """Estimates how much better each action was than the policy's average.

    delta_t = r_t + discount * (1 - terminated_t) * V(s'_t) - V(s_t)
    A_t = delta_t + discount * gae_lambda * (1 - done_t) * A_{t+1}

    A terminal state is worth nothing, but an episode that was only cut off (done, not
    terminated) would have gone on: its last step counts the value of its final state.

    Args:
        reward: float [T], of one stream.
        value: float [T], of the state acted in.
        next_value: float [T], of the state the action led to, before any reset.
        terminated: bool [T], that state is terminal.
        done: bool [T], the episode ended with this step, for whichever reason.
        discount: in [0, 1).
        gae_lambda: in [0, 1]; 0 trusts the values, 1 the rewards.

    Returns:
        float [T]. Behind the last step the advantage is taken as zero.

    Source: Schulman et al. (2016), High-dimensional continuous control using
    generalized advantage estimation, equation 16.
    """
    chex.assert_rank(reward, 1)
    chex.assert_equal_shape([reward, value, next_value, terminated, done])
    delta = reward + discount * jnp.where(terminated, 0, next_value) - value
    decay = discount * gae_lambda * (1 - done.astype(delta.dtype))

    def back_up(after: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta_t, decay_t = step
        advantage = delta_t + decay_t * after
        return advantage, advantage

    _, advantages = jax.lax.scan(back_up, jnp.zeros((), delta.dtype), (delta, decay), reverse=True)
    return advantages
