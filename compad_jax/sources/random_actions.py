"""Uniformly random actions: histories without a teacher, for `source.target=optimal`.

Source: Lee et al. (2023), Supervised pretraining can learn in-context reinforcement learning,
whose contexts are of random actions, too.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from compad_jax.config import SourceConfig
from compad_jax.envs.protocol import Env, EpisodeState, TimeStep
from compad_jax.sources.streams import run_streams
from compad_jax.types import History


def make_random_actions(config: SourceConfig, env: Env) -> Callable[[jax.Array, Any], History]:
    """Builds the source: (key, task) -> History [R, T]; `key` is consumed.

    What it did teaches nothing.
    """
    uniform = jnp.full((config.num_streams, env.spec.num_actions), -jnp.log(env.spec.num_actions))

    def policy_fn(known: None, episode: EpisodeState, inputs: None) -> jax.Array:
        del known, episode, inputs
        return uniform

    def learn_fn(
        known: None, episode: EpisodeState, timestep: TimeStep, inputs: None
    ) -> tuple[None, jax.Array]:
        del known, episode, inputs
        return None, timestep.reward

    def act(key: jax.Array, task: Any) -> History:
        return run_streams(
            env,
            task,
            key,
            policy_fn,
            learn_fn,
            None,
            None,
            num_streams=config.num_streams,
            num_steps=config.num_steps,
        )

    return act
