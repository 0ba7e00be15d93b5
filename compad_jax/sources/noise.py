"""How systematic sources depart from their best action, and when they are paid."""

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import NoiseConfig


def mix_in_random_actions(best: jax.Array, random_rate: jax.Array) -> jax.Array:
    """Log-probabilities [R, A] of a policy that takes a random action now and then.

    `best` are probabilities without noise, float [R, A]; `random_rate` is float [R].
    """
    rate = random_rate[:, None]
    return jnp.log((1 - rate) * best + rate / best.shape[-1])


def random_action_rates(config: NoiseConfig, num_streams: int, num_steps: int) -> jax.Array:
    """Rate of random actions at every step of every stream, float [T, R].

    Source: streams that differ in noise as in Horgan et al. (2018), Distributed prioritized
    experience replay; here evenly.
    """
    progress = jnp.minimum(jnp.arange(num_steps) / (config.anneal_ratio * num_steps), 1.0)
    first, last = config.random_action_rate, config.final_random_action_rate
    rates = first + (last - first) * progress
    shares = jnp.linspace(0.0, 1.0, num_streams) if config.spread_random_actions else 1.0
    return rates[:, None] * jnp.broadcast_to(shares, num_streams)


def noise_inputs(
    config: NoiseConfig, num_streams: int, num_steps: int
) -> tuple[jax.Array, jax.Array]:
    """What `run_streams` hands to a noisy source: `random_action_rates` and `is_paid`, [T, R]."""
    paid = jnp.asarray(is_paid(config, num_streams, num_steps))
    return random_action_rates(config, num_streams, num_steps), paid


def is_paid(config: NoiseConfig, num_streams: int, num_steps: int) -> np.ndarray:
    """Whether rewards count, at every step of every stream, bool [T, R].

    The streams that are paid late stand at equal distances, so among all rates of random actions;
    their delays, evenly up to the whole history, are shuffled, so that no rate goes with a delay.
    """
    late = np.diff(np.floor(np.arange(num_streams + 1) * config.late_reward_ratio)) > 0
    delays = np.linspace(0, num_steps, late.sum() + 1)[1:]
    delay = np.zeros(num_streams)
    delay[late] = np.random.default_rng(0).permutation(delays)
    return np.arange(num_steps)[:, None] >= delay
