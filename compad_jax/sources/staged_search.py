"""Search by stages: a teacher for every dark room.

It knows the map and not where rewards lie. In each stage of an episode, which a reward ends, it
goes to the place that paid in this stage before; while that is unknown, to the nearest place that
it has not entered yet in this stage, in any episode. With nothing left to earn it acts at random.
A learner that has entered every place in a stage and was never paid there searches anew.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import ConfigError, StagedSearchConfig
from compad_jax.envs import protocol
from compad_jax.sources.noise import is_paid, mix_in_random_actions, random_action_rates
from compad_jax.sources.streams import run_streams
from compad_jax.types import History

_UNKNOWN = -1


class _Knowledge(NamedTuple):
    """What R independent learners know; a stage that never ends is the only one."""

    visited: jax.Array  # bool [R, stages, places], since the search of the stage began.
    payer: jax.Array  # int [R, stages], the place that pays, or _UNKNOWN.
    stage: jax.Array  # int [R], rewards of this episode; from `stages` on nothing is left.
    paid: jax.Array  # bool [R], whether rewards count in this episode.


def make_staged_search(
    env: Any, config: StagedSearchConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, Any], History]:
    """Builds the source.

    Args:
        env: the environment.
        config: the learner's settings.
        num_streams: independent learners of a task, R.
        num_steps: environment steps of each, T.

    Returns:
        Function (key, task) -> History [R, T]; `key` is consumed.

    Raises:
        ConfigError: the environment has no map.
    """
    if not isinstance(env, protocol.MappedEnv):
        raise ConfigError("source.name='staged_search': needs an environment with a map")
    steps_to_enter = jnp.asarray(_steps_to_enter(env.next_places()))  # [places, A, places]
    endless, num_stages = env.num_stages is None, env.num_stages or 1
    num_places, num_actions = steps_to_enter.shape[0], steps_to_enter.shape[1]
    place_of = jax.vmap(env.place)

    def policy_fn(
        known: _Knowledge, episode: protocol.EpisodeState, inputs: tuple[jax.Array, jax.Array]
    ) -> jax.Array:
        here = jax.nn.one_hot(known.stage, num_stages, dtype=bool)  # [R, stages]
        visited = (known.visited & here[..., None]).any(1)
        payer = jnp.where(here, known.payer, _UNKNOWN).max(1)[:, None]
        wanted = jnp.where(payer == _UNKNOWN, ~visited, payer == jnp.arange(num_places))
        distance = steps_to_enter[place_of(episode.env_state)]  # [R, A, places]
        nearest = jnp.where(wanted[:, None], distance, num_places + 1).min(-1)
        best = jax.nn.one_hot(nearest.argmin(-1), num_actions)
        log_probs = mix_in_random_actions(best, inputs[0])
        done = known.stage >= num_stages
        return jnp.where(done[:, None], -jnp.log(float(num_actions)), log_probs)

    def learn_fn(
        known: _Knowledge,
        episode: protocol.EpisodeState,
        timestep: protocol.TimeStep,
        inputs: tuple[jax.Array, jax.Array],
    ) -> tuple[_Knowledge, jax.Array]:
        # From the start of an episode on, lest the second reward of one be taken for its first.
        paid = jnp.where(episode.time == 0, inputs[1], known.paid)
        reward = jnp.where(paid, timestep.reward, 0.0)
        earned = (reward > 0)[:, None]
        place = place_of(timestep.next_env_state)
        here = jax.nn.one_hot(known.stage, num_stages, dtype=bool)
        entered = place[:, None] == jnp.arange(num_places)
        visited = known.visited | (here[..., None] & entered[:, None])
        payer = jnp.where(here & earned, place[:, None], known.payer)
        within_reach = steps_to_enter[place].min(1) <= num_places
        left = (within_reach[:, None] & ~visited).any(-1)
        in_vain = here & ~left & (payer == _UNKNOWN)
        stage = known.stage if endless else known.stage + earned[:, 0]
        stage = jnp.where(timestep.done, 0, stage)
        return _Knowledge(visited & ~in_vain[..., None], payer, stage, paid), reward

    def learn(key: jax.Array, task: Any) -> History:
        known = _Knowledge(
            visited=jnp.zeros((num_streams, num_stages, num_places), bool),
            payer=jnp.full((num_streams, num_stages), _UNKNOWN),
            stage=jnp.zeros(num_streams, jnp.int32),
            paid=jnp.zeros(num_streams, bool),
        )
        inputs = (
            random_action_rates(config, num_streams, num_steps),
            jnp.asarray(is_paid(config, num_streams, num_steps)),
        )
        sizes = {"num_streams": num_streams, "num_steps": num_steps}
        return run_streams(env, task, key, policy_fn, learn_fn, known, inputs, **sizes)

    return learn


def _steps_to_enter(next_places: np.ndarray) -> np.ndarray:
    """Steps until a place is entered, the first of them given.

    Args:
        next_places: int [places, A], the map.

    Returns:
        int [places, A, places]; more than `places` where there is no way.
    """
    chex.assert_rank(next_places, 2)
    num_places = len(next_places)
    distance = np.full((num_places, num_places), num_places)
    np.fill_diagonal(distance, 0)
    while True:
        shorter = np.minimum(distance, distance[next_places].min(1) + 1)
        if (shorter == distance).all():
            return 1 + distance[next_places]
        distance = shorter
