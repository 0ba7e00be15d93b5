"""Model-based interval estimation with an exploration bonus: a systematic teacher.

Source: Strehl & Littman (2008), An analysis of model-based interval estimation for
Markov decision processes, section 3.2 (MBIE-EB). Deviations: the transitions are
known and only rewards are learned, as a function of the state entered; rewards are
deterministic, so the bonus is constant until a state has `known_visits` visits and
zero after; planning takes `horizon` sweeps from zero at every step; a learner that knows
every state and was never paid forgets its visits and searches anew.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import ConfigError, MbieEbConfig
from compad_jax.envs import protocol
from compad_jax.sources.actions import draw_action, taken_log_probs
from compad_jax.types import History, Transition

_TIE = 1e-5  # Values closer than this are equal: float32 sums along different paths.


class _Learner(NamedTuple):
    """R independent learners; streams are the last axis, where vector units read them."""

    episode: protocol.EpisodeState  # [R]
    obs: jax.Array  # [R, O]
    visits: jax.Array  # float [states, R]
    reward_sum: jax.Array  # float [states, R]


def make_mbie_eb(
    env: Any, config: MbieEbConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, jax.Array], History]:
    """Builds the source.

    Args:
        env: the environment.
        config: the learner's settings.
        num_streams: independent learners of a task, R.
        num_steps: environment steps of each, T.

    Returns:
        Function (key, task) -> History [R, T].
    """

    def learn(key: jax.Array, task: jax.Array) -> History:
        next_state = _known_transitions(env, task)
        reset_key, noise_key, key = jax.random.split(key, 3)
        reset_keys = jax.random.split(reset_key, num_streams)
        episode, obs = jax.vmap(lambda k: protocol.reset(env, k, task))(reset_keys)
        unknown = jnp.zeros((len(next_state), num_streams))
        learner = _Learner(episode, obs, visits=unknown, reward_sum=unknown)

        def act(learner: _Learner, inputs: tuple[jax.Array, ...]) -> tuple[_Learner, History]:
            random_rate, paid, noise, key = inputs
            greedy = _greedy_policy(env, config, next_state, learner)
            log_probs = jnp.log((1 - random_rate) * greedy + random_rate / env.spec.num_actions)
            action = draw_action(noise, log_probs)
            step = jax.vmap(lambda k, s, a: protocol.step(env, k, s, a, task))
            timestep = step(jax.random.split(key, num_streams), learner.episode, action)
            entered = jax.vmap(env.state_index)(timestep.next_env_state)
            reward = jnp.where(paid, timestep.reward, 0.0)
            here = entered == jnp.arange(len(next_state))[:, None]  # [states, R]
            visits = learner.visits + here
            reward_sum = learner.reward_sum + jnp.where(here, reward, 0.0)
            in_vain = (visits >= config.known_visits).all(0) & (reward_sum == 0).all(0)
            visits = jnp.where(in_vain, 0.0, visits)
            after = _Learner(timestep.state, timestep.obs, visits, reward_sum)
            transition = Transition(
                learner.obs, timestep.action, reward, timestep.next_obs, timestep.done
            )
            return after, History(transition, taken_log_probs(log_probs, timestep.distracted))

        inputs = (
            _random_action_rates(config, num_streams, num_steps)[..., None],
            jnp.asarray(_is_paid(config, num_streams, num_steps)),
            jax.random.uniform(noise_key, (num_steps, num_streams)),
            jax.random.split(key, num_steps),
        )
        _, history = jax.lax.scan(act, learner, inputs)
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), history)

    return learn


def _known_transitions(env: Any, task: Any) -> jax.Array:
    """The states that actions lead to, int [states, A]; the learner knows them."""
    if not isinstance(env, protocol.TabularEnv):
        raise ConfigError("source.name='mbie_eb': needs an environment with tables of its states")
    next_state = env.tabular(task).next_state
    if next_state.shape[-1] > 1:
        raise ConfigError("source.name='mbie_eb': needs an environment without chance")
    return next_state[..., 0]


def optimistic_values(
    reward: jax.Array, next_state: jax.Array, *, discount: float, num_sweeps: int
) -> jax.Array:
    """Value of entering each state, by value iteration from zero.

    u(s') = r(s') + discount * max_a u(next(s', a)).

    Args:
        reward: float [states, R], of entering a state, bonus included.
        next_state: int [states, A], shared by all streams.
        discount: in [0, 1).
        num_sweeps: sweeps over all states.

    Returns:
        float [states, R].
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


def _random_action_rates(config: MbieEbConfig, num_streams: int, num_steps: int) -> jax.Array:
    """Rate of random actions at every step of every stream, float [T, R].

    Source: streams that differ in noise as in Horgan et al. (2018), Distributed prioritized
    experience replay; here evenly.
    """
    progress = jnp.minimum(jnp.arange(num_steps) / (config.anneal_ratio * num_steps), 1.0)
    first, last = config.random_action_rate, config.final_random_action_rate
    rates = first + (last - first) * progress
    shares = jnp.linspace(0.0, 1.0, num_streams) if config.spread_random_actions else 1.0
    return rates[:, None] * jnp.broadcast_to(shares, num_streams)


def _is_paid(config: MbieEbConfig, num_streams: int, num_steps: int) -> np.ndarray:
    """Whether rewards count, at every step of every stream, bool [T, R].

    The streams that are paid late stand at equal distances, so among all rates of random actions;
    their delays, evenly up to the whole history, are shuffled, so that no rate goes with a delay.
    """
    late = np.diff(np.floor(np.arange(num_streams + 1) * config.late_reward_ratio)) > 0
    delays = np.linspace(0, num_steps, late.sum() + 1)[1:]
    delay = np.zeros(num_streams)
    delay[late] = np.random.default_rng(0).permutation(delays)
    return np.arange(num_steps)[:, None] >= delay


def _greedy_policy(
    env: Any, config: MbieEbConfig, next_state: jax.Array, learner: _Learner
) -> jax.Array:
    """Probabilities of every stream's actions before any noise, float [R, A]."""
    mean_reward = learner.reward_sum / jnp.maximum(learner.visits, 1)
    bonus = jnp.where(learner.visits < config.known_visits, config.bonus, 0.0)
    entered = optimistic_values(
        mean_reward + bonus, next_state, discount=config.discount, num_sweeps=env.spec.horizon
    )
    state = jax.vmap(env.state_index)(learner.episode.env_state)
    reachable = jnp.asarray(next_state)[state]  # [R, A]
    value = jnp.take_along_axis(entered.T, reachable, axis=1)
    best = value >= value.max(-1, keepdims=True) - _TIE
    if config.ties == "first":
        best = jax.nn.one_hot(best.argmax(-1), best.shape[-1], dtype=bool)
    return best / best.sum(-1, keepdims=True)
