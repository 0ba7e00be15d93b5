"""Proximal policy optimisation: learners, each with streams of experience that share its policy.

Source: Schulman et al. (2017), Proximal policy optimization algorithms; details and
constants as in Stable-Baselines3 2.x: Adam with epsilon 1e-5; an episode cut off by the time
limit counts the value of its final observation. For its networks, its loss and its updates see
`actor_critic`, `ppo_loss` and `ppo_update`.

Where there are few observations, the networks are evaluated once on all of them, a rollout, to
act. The result is the same.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from compad_jax.config import PpoConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs import protocol
from compad_jax.envs.show_state import ShowState, hide_state
from compad_jax.sources.actions import draw_action
from compad_jax.sources.actor_critic import ActorCritic, NetworkFn, tabulate
from compad_jax.sources.ppo_loss import Samples
from compad_jax.sources.ppo_update import Learner, make_objective, update
from compad_jax.sources.returns import generalized_advantages
from compad_jax.types import History, Transition

_ADAM_EPS = 1e-5


class _Streams(NamedTuple):
    """Where the R streams stand."""

    episode: protocol.EpisodeState  # [R]
    obs: jax.Array  # [R, O]


def make_ppo(
    env: protocol.Env, config: PpoConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, jax.Array], History]:
    """Builds the source: (key, task) -> History [num_streams, num_steps]; `key` is consumed.

    Learners have equally many streams; the policy of one acts in and learns from all of its own. It
    changes every `config.rollout_length` steps.

    Raises:
        ConfigError: learners do not divide the streams, or minibatches a rollout, or the
            environment acts by itself at times or cannot show its state.
    """
    if config.sees == "state":
        return _make_informed(env, config, num_streams=num_streams, num_steps=num_steps)
    if hasattr(env, "distractor"):  # Its own actions would enter the loss.
        raise ConfigError("source.name='ppo': needs an environment without a wait (distractor)")
    if num_streams % config.num_learners:
        raise ConfigError(
            f"source.ppo.num_learners={config.num_learners}: must divide "
            f"source.num_streams = {num_streams}"
        )
    learn = _make_learner(
        env, config, num_streams=num_streams // config.num_learners, num_steps=num_steps
    )

    def learn_all(key: jax.Array, task: jax.Array) -> History:
        keys = jax.random.split(key, config.num_learners)
        history = jax.vmap(learn, in_axes=(0, None))(keys, task)
        return jax.tree.map(lambda x: x.reshape(num_streams, *x.shape[2:]), history)

    # One learner uses its key as it is: its histories are those from before there were more.
    return learn_all if config.num_learners > 1 else learn


def _make_informed(
    env: protocol.Env, config: PpoConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, jax.Array], History]:
    """Learners that are told the state; their histories show what a student sees."""
    if not isinstance(env, protocol.HidingEnv):
        raise ConfigError(
            "source.ppo.sees='state': needs an environment that hides some of its state, such as "
            "dark_key_to_door"
        )
    uninformed = dataclasses.replace(config, sees="observation")
    learn = make_ppo(ShowState(env), uninformed, num_streams=num_streams, num_steps=num_steps)

    def learn_and_hide(key: jax.Array, task: jax.Array) -> History:
        history = learn(key, task)
        return history._replace(transition=hide_state(env, history.transition))

    return learn_and_hide


def _make_learner(
    env: protocol.Env, config: PpoConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, jax.Array], History]:
    """One learner: (key, task) -> History [num_streams, num_steps]."""
    _check_batch_size(config, num_streams)
    network = ActorCritic(env.spec, config.hidden, config.critic_gain)
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.grad_clip_norm), optax.adam(config.lr, eps=_ADAM_EPS)
    )

    def network_fn(params: chex.ArrayTree) -> NetworkFn:
        return functools.partial(network.apply, params)  # type: ignore[return-value]

    loss_fn, prepare = make_objective(env.spec, network_fn, config)
    few_observations = protocol.num_observations(env.spec) <= num_streams * config.rollout_length
    # No update follows the last rollout, whole or partial: that policy would never act.
    num_updates = (num_steps - 1) // config.rollout_length
    last_length = num_steps - num_updates * config.rollout_length

    def act_fn(params: chex.ArrayTree) -> NetworkFn:
        direct = network_fn(params)
        space = env.spec.obs_space
        if isinstance(space, protocol.Discrete) and few_observations:
            return tabulate(direct, space)
        return direct

    def learn(key: jax.Array, task: jax.Array) -> History:
        params_key, reset_key, key, last_key = jax.random.split(key, 4)
        reset_keys = jax.random.split(reset_key, num_streams)
        streams = _Streams(*jax.vmap(lambda k: protocol.reset(env, k, task))(reset_keys))
        params = network.init(params_key, streams.obs)

        def collect_and_update(
            carry: tuple[Learner, _Streams], key: jax.Array
        ) -> tuple[tuple[Learner, _Streams], History]:
            learner, streams = carry
            collect_key, update_key = jax.random.split(key)
            policy = act_fn(learner.params)
            streams, history, terminated = _collect(
                env, policy, streams, collect_key, task, config.rollout_length
            )
            samples = make_samples(policy, history, terminated, config)
            learner = update(loss_fn, prepare, optimizer, learner, samples, update_key, config)
            return (learner, streams), history

        (learner, streams), rollouts = jax.lax.scan(
            collect_and_update,
            (Learner(params, optimizer.init(params)), streams),
            jax.random.split(key, num_updates),
        )
        _, last, _ = _collect(env, act_fn(learner.params), streams, last_key, task, last_length)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rollouts)
        history = jax.tree.map(lambda *x: jnp.swapaxes(jnp.concatenate(x), 0, 1), flat, last)
        chex.assert_shape(history.log_probs, (num_streams, num_steps, env.spec.num_actions))
        return history

    return learn


def make_samples(
    network_fn: NetworkFn, history: History, terminated: jax.Array, config: PpoConfig
) -> Samples:
    """Estimates advantages and value targets (value + advantage) of a rollout, [t, R].

    `network_fn` is the policy that acted, and its critic; `terminated`, bool [t, R], tells where a
    terminal state was reached.
    """
    obs, action, reward, next_obs, done = history.transition
    chex.assert_equal_shape([action, reward, done, terminated])
    _, value = network_fn(obs)
    _, next_value = network_fn(next_obs)
    estimate = functools.partial(
        generalized_advantages, discount=config.discount, gae_lambda=config.gae_lambda
    )
    estimate = jax.vmap(estimate, in_axes=1, out_axes=1)
    advantage = estimate(reward, value, next_value, terminated, done)
    return Samples(obs, action, history.log_prob, advantage, value + advantage)


def _check_batch_size(config: PpoConfig, num_streams: int) -> None:
    """Raises a `ConfigError` unless minibatches of at least two divide a rollout."""
    size, num_samples = config.batch_size, num_streams * config.rollout_length
    if size < 2 or num_samples % size:
        raise ConfigError(
            f"source.ppo.batch_size={size}: must be at least 2 and divide the streams of a "
            f"learner * source.ppo.rollout_length = "
            f"{num_streams} * {config.rollout_length} = {num_samples}"
        )


def _collect(
    env: protocol.Env,
    network_fn: NetworkFn,
    streams: _Streams,
    key: jax.Array,
    task: jax.Array,
    length: int,
) -> tuple[_Streams, History, jax.Array]:
    """Acts for `length` steps; returns histories [length, R] and `terminated` apart."""
    num_streams = len(streams.obs)
    noise_key, key = jax.random.split(key)
    noise = jax.random.uniform(noise_key, (length, num_streams))

    def act(
        streams: _Streams, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[_Streams, tuple[Transition, jax.Array]]:
        noise, key = inputs
        log_probs, _ = network_fn(streams.obs)
        action = draw_action(noise, log_probs)
        step = jax.vmap(lambda k, s, a: protocol.step(env, k, s, a, task))
        timestep = step(jax.random.split(key, num_streams), streams.episode, action)
        transition = Transition(
            streams.obs, timestep.action, timestep.reward, timestep.next_obs, timestep.done
        )
        return _Streams(timestep.state, timestep.obs), (transition, timestep.terminated)

    inputs = (noise, jax.random.split(key, length))
    streams, (transition, terminated) = jax.lax.scan(act, streams, inputs)
    log_probs, _ = network_fn(transition.obs)
    return streams, History(transition, log_probs), terminated
