"""What teachers for bandits share: they know of every arm how often it was pulled, and its sum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from compad_jax.config import ConfigError
from compad_jax.envs import protocol
from compad_jax.sources.streams import run_streams
from compad_jax.types import History


class ArmTally(NamedTuple):
    """What R learners saw of every arm, in all episodes."""

    pulls: jax.Array  # float [R, A]
    reward_sum: jax.Array  # float [R, A]


def make_bandit_source(
    env: Any,
    name: str,
    log_probs_of: Callable[[ArmTally], jax.Array],
    *,
    num_streams: int,
    num_steps: int,
) -> Callable[[jax.Array, Any], History]:
    """Builds a source whose policy, float [R, A], depends on its tally alone.

    Steps in which the environment acts teach nothing.

    Returns:
        Function (key, task) -> History [num_streams, num_steps]; `key` is consumed.

    Raises:
        ConfigError: the environment's actions are not arms.
    """
    if not isinstance(env, protocol.BanditEnv):
        raise ConfigError(f"source.name={name!r}: needs an environment whose actions are arms")
    num_arms = env.num_arms

    def policy_fn(tally: ArmTally, episode: protocol.EpisodeState, inputs: None) -> jax.Array:
        del episode, inputs
        return log_probs_of(tally)

    def learn_fn(
        tally: ArmTally, episode: protocol.EpisodeState, timestep: protocol.TimeStep, inputs: None
    ) -> tuple[ArmTally, jax.Array]:
        del episode, inputs
        pulled = jax.nn.one_hot(timestep.action, num_arms) * ~timestep.distracted[:, None]
        reward_sum = tally.reward_sum + pulled * timestep.reward[:, None]
        return ArmTally(tally.pulls + pulled, reward_sum), timestep.reward

    def learn(key: jax.Array, task: Any) -> History:
        nothing = jnp.zeros((num_streams, num_arms))
        tally = ArmTally(nothing, nothing)
        return run_streams(
            env,
            task,
            key,
            policy_fn,
            learn_fn,
            tally,
            None,
            num_streams=num_streams,
            num_steps=num_steps,
        )

    return learn
