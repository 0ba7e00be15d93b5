"""How systematic sources depart from their best action, and when they are paid."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import NoiseConfig

_OWN_KEY = 3  # `run_streams` splits the key into numbers 0 to 2.


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


def draw_random_runs(key: jax.Array, rates: jax.Array, mean_length: int) -> jax.Array:
    """Draws which steps are random: bool [T, R], each at its rate, float [T, R].

    They come in runs whose lengths are geometric; where one ends, the next may begin. Rates may
    not fall faster than runs end. The key is consumed.
    """
    go_on = 1 - 1 / mean_length
    still = go_on * jnp.concatenate([jnp.zeros_like(rates[:1]), rates[:-1]])  # Of a run before.
    begin = (rates - still) / (1 - still)

    def step(is_random: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> Any:
        number, begin = inputs
        is_random = number < jnp.where(is_random, go_on + (1 - go_on) * begin, begin)
        return is_random, is_random

    numbers = jax.random.uniform(key, rates.shape)
    return jax.lax.scan(step, jnp.zeros(rates.shape[1], bool), (numbers, begin))[1]


def noise_inputs(
    config: NoiseConfig, num_streams: int, num_steps: int, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What `run_streams` hands to a noisy source: rates of random actions and `is_paid`, [T, R].

    The rates are `random_action_rates`. With `random_run_length` it is drawn which steps are
    random, and all rates are 0 or 1: the policy is uniform there and has no noise elsewhere. The
    key is that of the whole history, and goes to `run_streams` next.
    """
    rates = random_action_rates(config, num_streams, num_steps)
    if config.random_run_length:
        own_key = jax.random.fold_in(key, _OWN_KEY)
        rates = draw_random_runs(own_key, rates, config.random_run_length).astype(jnp.float32)
    return rates, jnp.asarray(is_paid(config, num_streams, num_steps))


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
