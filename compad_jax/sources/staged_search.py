"""Search by stages: a teacher for every dark room.

It knows the map and not where rewards lie. In each stage of an episode, which a reward ends, it
goes to the place that paid in this stage before; while that is unknown, to the nearest place that
it has not entered yet in this stage, in any episode. A learner that has entered every place in a
stage and was never paid there searches anew. With nothing left to earn any action is as good as
another, and none is to be imitated: it acts at random, or searches on (`idle_search_ratio`).

Where the task decides which action is which move, the learner finds out: it takes an action for
the best move that it may be, and rules out the moves that would have led elsewhere.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import ConfigError, StagedSearchConfig
from compad_jax.envs import protocol
from compad_jax.sources.noise import mix_in_random_actions, noise_inputs
from compad_jax.sources.streams import run_streams
from compad_jax.types import History

_UNKNOWN = -1
_IDLE_KEY = 4  # `run_streams` splits the key into numbers 0 to 2; the noise has number 3.


class _Knowledge(NamedTuple):
    """What R independent learners know; a stage that never ends is the only one.

    Otherwise the last of the stages is never paid: nothing is left to earn. What was visited in
    it is forgotten with the episode.
    """

    visited: jax.Array  # bool [R, stages, places], since the search of the stage began.
    payer: jax.Array  # int [R, stages], the place that pays, or _UNKNOWN.
    stage: jax.Array  # int [R], rewards of this episode.
    paid: jax.Array  # int [R], the first stages, so many, whose rewards count in this episode.
    searches_on: jax.Array  # bool [R], in the last stage of this episode.
    may_be: jax.Array  # bool [R, A, moves], which move each action may be.


_Inputs = tuple[jax.Array, jax.Array, jax.Array]  # Rates of random actions, and the two above.


def make_staged_search(
    env: Any, config: StagedSearchConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, Any], History]:
    """Builds the source: (key, task) -> History [num_streams, num_steps]; `key` is consumed.

    Raises:
        ConfigError: the environment has no map.
    """
    if not isinstance(env, protocol.MappedEnv):
        raise ConfigError("source.name='staged_search': needs an environment with a map")
    next_places = jnp.asarray(env.next_places())
    steps_to_enter = jnp.asarray(_steps_to_enter(env.next_places()))  # [places, moves, places]
    endless, num_paid = env.num_stages is None, env.num_stages or 1
    num_stages = num_paid + (not endless)
    num_places, num_actions = steps_to_enter.shape[0], steps_to_enter.shape[1]
    is_last = jnp.arange(num_stages) >= num_paid
    place_of = jax.vmap(env.place)
    are_permuted = getattr(env, "moves_are_permuted", False)
    first_belief = jnp.eye(num_actions, dtype=bool) | are_permuted

    def policy_fn(known: _Knowledge, episode: protocol.EpisodeState, inputs: _Inputs) -> jax.Array:
        here = jax.nn.one_hot(known.stage, num_stages, dtype=bool)  # [R, stages]
        visited = (known.visited & here[..., None]).any(1)
        payer = jnp.where(here, known.payer, _UNKNOWN).max(1)[:, None]
        wanted = jnp.where(payer == _UNKNOWN, ~visited, payer == jnp.arange(num_places))
        distance = steps_to_enter[place_of(episode.env_state)]  # [R, moves, places]
        nearest = jnp.where(wanted[:, None], distance, num_places + 1).min(-1)
        hoped = jnp.where(known.may_be, nearest[:, None], num_places + 2).min(-1)  # [R, A]
        best = jax.nn.one_hot(hoped.argmin(-1), num_actions)
        acts_at_random = is_idle(known) & ~known.searches_on
        return mix_in_random_actions(best, jnp.where(acts_at_random, 1.0, inputs[0]))

    def is_idle(known: _Knowledge) -> jax.Array:
        return known.stage >= num_paid

    def learn_fn(
        known: _Knowledge,
        episode: protocol.EpisodeState,
        timestep: protocol.TimeStep,
        inputs: _Inputs,
    ) -> tuple[_Knowledge, jax.Array]:
        # From the start of an episode on, lest the second reward of one be taken for its first.
        is_new = episode.time == 0
        paid = jnp.where(is_new, inputs[1], known.paid)
        searches_on = jnp.where(is_new, inputs[2], known.searches_on)
        reward = jnp.where(known.stage < paid, timestep.reward, 0.0)
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
        led_there = next_places[place_of(episode.env_state)] == place[:, None]  # [R, moves]
        may_be = rule_out(known.may_be, timestep.action, led_there)
        lost = in_vain | (timestep.done[:, None] & is_last)
        visited &= ~lost[..., None]
        return _Knowledge(visited, payer, stage, paid, searches_on, may_be), reward

    def learn(key: jax.Array, task: Any) -> History:
        known = _Knowledge(
            visited=jnp.zeros((num_streams, num_stages, num_places), bool),
            payer=jnp.full((num_streams, num_stages), _UNKNOWN),
            stage=jnp.zeros(num_streams, jnp.int32),
            paid=jnp.zeros(num_streams, jnp.int32),
            searches_on=jnp.zeros(num_streams, bool),
            may_be=jnp.broadcast_to(first_belief, (num_streams, *first_belief.shape)),
        )
        rates, is_paid = noise_inputs(config, num_streams, num_steps, key)
        idle_key = jax.random.fold_in(key, _IDLE_KEY)
        searches_on = jax.random.bernoulli(idle_key, config.idle_search_ratio, rates.shape)
        inputs = rates, paid_stages(is_paid, num_paid), searches_on
        return run_streams(
            env,
            task,
            key,
            policy_fn,
            learn_fn,
            known,
            inputs,
            num_streams=num_streams,
            num_steps=num_steps,
            is_idle=is_idle,
        )

    return learn


def paid_stages(is_paid: jax.Array, num_stages: int) -> jax.Array:
    """How many stages are paid, the first ones: bool [T, R] -> int [T, R].

    In its unpaid time, the first of the streams that are paid late is paid for all stages but the
    last, the next one for one stage less, and so on: a search in vain is shown in every stage.
    """
    place = jnp.cumsum(~is_paid[0]) - 1  # Of a stream among those that are paid late.
    return jnp.where(is_paid, num_stages, (num_stages - 1 - place) % num_stages)


def rule_out(may_be: jax.Array, action: jax.Array, led_there: jax.Array) -> jax.Array:
    """What actions may be, bool [R, A, moves], after one was taken and seen to lead somewhere.

    `led_there`, bool [R, moves], are the moves that would have led to the same place. A move that
    one action is known to be is ruled out for the others.
    """
    taken = jax.nn.one_hot(action, may_be.shape[1], dtype=bool)
    may_be = may_be & (led_there[:, None] | ~taken[..., None])
    is_known = may_be.sum(-1, keepdims=True) == 1
    of_others = (may_be & is_known).any(1, keepdims=True) & ~is_known
    return may_be & ~of_others


def _steps_to_enter(next_places: np.ndarray) -> np.ndarray:
    """Steps until a place is entered, the first of them given: int [places, A, places].

    More than `places` where there is no way. The map is int [places, A].
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
