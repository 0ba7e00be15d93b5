"""Upper confidence bounds: a teacher for bandits.

Source: Auer, Cesa-Bianchi & Fischer (2002), Finite-time analysis of the multiarmed bandit problem
(UCB1). Deviation: the bonus of an arm is weight / sqrt(pulls), without the logarithm of all pulls,
so that it is a function of what was seen of the arm alone and easier to imitate.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from compad_jax.config import ConfigError, UcbConfig
from compad_jax.envs import protocol
from compad_jax.sources.streams import run_streams
from compad_jax.types import History


class _Tally(NamedTuple):
    """What R learners saw of every arm, in all episodes."""

    pulls: jax.Array  # float [R, A]
    reward_sum: jax.Array  # float [R, A]


def make_ucb(
    env: Any, config: UcbConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, Any], History]:
    """Builds the source.

    It pulls the first arm of the largest mean + weight / sqrt(pulls), and so at first every arm
    once, in their order: an order drawn for each learner could not be imitated.

    Args:
        env: the environment.
        config: the learner's settings.
        num_streams: independent learners of a task, R.
        num_steps: environment steps of each, T; those in which the environment acts teach nothing.

    Returns:
        Function (key, task) -> History [R, T]; `key` is consumed.

    Raises:
        ConfigError: the environment's actions are not arms.
    """
    if not isinstance(env, protocol.BanditEnv):
        raise ConfigError("source.name='ucb': needs an environment whose actions are arms")
    num_arms = env.num_arms

    def policy_fn(tally: _Tally, episode: protocol.EpisodeState, inputs: None) -> jax.Array:
        del episode, inputs
        best = ucb_index(tally.pulls, tally.reward_sum, config.bonus_weight).argmax(-1)
        return jnp.log(jax.nn.one_hot(best, num_arms))

    def learn_fn(
        tally: _Tally, episode: protocol.EpisodeState, timestep: protocol.TimeStep, inputs: None
    ) -> tuple[_Tally, jax.Array]:
        del episode, inputs
        pulled = jax.nn.one_hot(timestep.action, num_arms) * ~timestep.distracted[:, None]
        reward_sum = tally.reward_sum + pulled * timestep.reward[:, None]
        return _Tally(tally.pulls + pulled, reward_sum), timestep.reward

    def learn(key: jax.Array, task: Any) -> History:
        nothing = jnp.zeros((num_streams, num_arms))
        sizes = {"num_streams": num_streams, "num_steps": num_steps}
        tally = _Tally(nothing, nothing)
        return run_streams(env, task, key, policy_fn, learn_fn, tally, None, **sizes)

    return learn


def ucb_index(pulls: jax.Array, reward_sum: jax.Array, bonus_weight: float) -> jax.Array:
    """Mean reward + weight / sqrt(pulls), infinite where there was none: float [..., A]."""
    known = jnp.maximum(pulls, 1)
    return jnp.where(pulls > 0, reward_sum / known + bonus_weight / jnp.sqrt(known), jnp.inf)
