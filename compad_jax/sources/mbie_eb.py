"""Model-based interval estimation with an exploration bonus: a systematic teacher.

Source: Strehl & Littman (2008), An analysis of model-based interval estimation for
Markov decision processes, section 3.2 (MBIE-EB). Deviations: the transitions are
known and only rewards are learned, as a function of the state entered; rewards are
deterministic, so the bonus is constant until a state has `known_visits` visits and
zero after; planning takes `horizon` sweeps from zero at every step; a learner that knows every
state that can be entered and was never paid forgets its visits and searches anew.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import ConfigError, MbieEbConfig
from compad_jax.envs import protocol
from compad_jax.envs.tabular import TabularModel
from compad_jax.sources.noise import mix_in_random_actions, noise_inputs
from compad_jax.sources.streams import run_streams
from compad_jax.types import History

_TIE = 1e-5  # Values closer than this are equal: float32 sums along different paths.


class _Knowledge(NamedTuple):
    """What R learners saw; streams are the last axis, where vector units read them."""

    visits: jax.Array  # float [states, R]
    reward_sum: jax.Array  # float [states, R]


def make_mbie_eb(
    env: Any, config: MbieEbConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, Any], History]:
    """Builds the source: (key, task) -> History [num_streams, num_steps]; `key` is consumed.

    Raises:
        ConfigError: the environment has no tables, or they have chance in them or depend on the
            task.
    """
    next_state = _known_transitions(env)

    def policy_fn(
        known: _Knowledge, episode: protocol.EpisodeState, inputs: tuple[jax.Array, jax.Array]
    ) -> jax.Array:
        state = jax.vmap(env.state_index)(episode.env_state)
        greedy = _greedy_policy(config, next_state, state, known, env.spec.horizon)
        return mix_in_random_actions(greedy, inputs[0])

    def learn(key: jax.Array, task: Any) -> History:
        entered_ever = _enterable(env.tabular(task), next_state)[:, None]

        def learn_fn(
            known: _Knowledge,
            episode: protocol.EpisodeState,
            timestep: protocol.TimeStep,
            inputs: tuple[jax.Array, jax.Array],
        ) -> tuple[_Knowledge, jax.Array]:
            del episode
            entered = jax.vmap(env.state_index)(timestep.next_env_state)
            reward = jnp.where(inputs[1], timestep.reward, 0.0)
            here = entered == jnp.arange(len(next_state))[:, None]  # [states, R]
            visits = known.visits + here
            reward_sum = known.reward_sum + jnp.where(here, reward, 0.0)
            seen_all = ((visits >= config.known_visits) | ~entered_ever).all(0)
            visits = jnp.where(seen_all & (reward_sum == 0).all(0), 0.0, visits)
            return _Knowledge(visits, reward_sum), reward

        nothing = jnp.zeros((len(next_state), num_streams))
        inputs = noise_inputs(config, num_streams, num_steps, key)
        known = _Knowledge(nothing, nothing)
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
        )

    return learn


def _known_transitions(env: Any) -> np.ndarray:
    """The states that actions lead to, int [states, A]; the learner knows them."""
    if not isinstance(env, protocol.TabularEnv):
        raise ConfigError("source.name='mbie_eb': needs an environment with tables of its states")

    def next_state_of(index: jax.Array) -> jax.Array:
        return env.tabular(env.task(index)).next_state

    try:  # An output that depends on the task has an axis of tasks.
        next_state = jax.vmap(next_state_of, out_axes=None)(jnp.zeros(2, jnp.int32))
    except ValueError:
        raise ConfigError(
            "source.name='mbie_eb': needs an environment whose transitions do not depend on the "
            "task, or they would tell what is to be found"
        ) from None
    if next_state.shape[-1] > 1:
        raise ConfigError("source.name='mbie_eb': needs an environment without chance")
    return np.asarray(next_state[..., 0])


def _enterable(model: TabularModel, next_state: np.ndarray) -> jax.Array:
    """Which states can be entered in an episode, bool [states]: no other waits to be known."""
    leads_to = (next_state[..., None] == np.arange(len(next_state))).any(1)  # [from, to]

    def extend(entered: jax.Array, _: None) -> tuple[jax.Array, None]:
        goes_on = ((model.initial > 0) | entered) & ~model.terminal
        return (goes_on[:, None] & leads_to).any(0), None

    nothing = jnp.zeros(len(next_state), bool)
    return jax.lax.scan(extend, nothing, length=len(next_state))[0]


def optimistic_values(
    reward: jax.Array, next_state: Any, *, discount: float, num_sweeps: int
) -> jax.Array:
    """Value of entering each state, by value iteration from zero: float [states, R].

    u(s') = r(s') + discount * max_a u(next(s', a)).

    Args:
        reward: float [states, R], of entering a state, bonus included.
        next_state: int [states, A], shared by all streams.
        discount: in [0, 1).
        num_sweeps: sweeps over all states.
    """
    chex.assert_rank([reward, next_state], 2)

    def sweep(entered: jax.Array, _: None) -> tuple[jax.Array, None]:
        # One gather of whole rows an action: much faster than one gather of scalars.
        best = entered[next_state[:, 0]]
        for action in range(1, next_state.shape[1]):
            best = jnp.maximum(best, entered[next_state[:, action]])
        return reward + discount * best, None

    entered, _ = jax.lax.scan(sweep, reward, length=num_sweeps)
    return entered


def _greedy_policy(
    config: MbieEbConfig,
    next_state: np.ndarray,
    state: jax.Array,
    known: _Knowledge,
    num_sweeps: int,
) -> jax.Array:
    """Probabilities of every stream's actions before any noise, float [R, A]."""
    mean_reward = known.reward_sum / jnp.maximum(known.visits, 1)
    bonus = jnp.where(known.visits < config.known_visits, config.bonus, 0.0)
    entered = optimistic_values(
        mean_reward + bonus, next_state, discount=config.discount, num_sweeps=num_sweeps
    )
    reachable = jnp.asarray(next_state)[state]  # [R, A]
    value = jnp.take_along_axis(entered.T, reachable, axis=1)
    best = value >= value.max(-1, keepdims=True) - _TIE
    if config.ties == "first":
        best = jax.nn.one_hot(best.argmax(-1), best.shape[-1], dtype=bool)
    return best / best.sum(-1, keepdims=True)
