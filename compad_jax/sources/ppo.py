"""Proximal policy optimisation: streams of experience that share one policy.

Source: Schulman et al. (2017), Proximal policy optimization algorithms, equation 7;
details and constants as in Stable-Baselines3 2.x: actor and critic apart, two tanh layers
each; Adam with epsilon 1e-5; advantages normalised in each minibatch; an episode cut off by
the time limit counts the value of its final observation. Deviations: weights are drawn
normal, not orthogonal (a batched QR can deadlock on a CPU), with the same gains; coordinates
are scaled to [-1, 1] (there: raw), so that a network starts alike on every size of grid.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from compad_jax.checks import ConfigError
from compad_jax.config import PpoConfig
from compad_jax.envs import base
from compad_jax.sources.returns import generalized_advantages
from compad_jax.types import History, Transition

_ADAM_EPS = 1e-5
_STD_EPS = 1e-8  # A minibatch may hold equal advantages only.

# Observations, int [..., O], to log-probabilities, float [..., A], and values, float [...].
NetworkFn = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class Samples(NamedTuple):
    """What an update reads of each step acted; any leading axes."""

    obs: jax.Array  # int [..., O]
    action: jax.Array  # int [...]
    log_prob: jax.Array  # float [...], of the action when it was taken.
    advantage: jax.Array  # float [...]
    target: jax.Array  # float [...], of the value.


class _Streams(NamedTuple):
    """Where the R streams stand."""

    episode: base.EpisodeState  # [R]
    obs: jax.Array  # int [R, O]


class _Learner(NamedTuple):
    """What is learned, shared by the streams."""

    params: chex.ArrayTree
    opt_state: optax.OptState


class _ActorCritic(nn.Module):
    """Policy and value of a state, by two networks that share nothing; see `NetworkFn`."""

    spec: base.EnvSpec
    hidden: int

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        sizes = jnp.asarray(self.spec.obs_sizes)
        chex.assert_axis_dimension(obs, -1, len(sizes))
        inputs = 2 * obs / jnp.maximum(sizes - 1, 1) - 1
        # A small last layer starts the policy near uniform.
        logits = self._tower(inputs, self.spec.num_actions, head_gain=0.01, name="actor")
        value = self._tower(inputs, 1, head_gain=1.0, name="critic")
        return jax.nn.log_softmax(logits), value[..., 0]

    def _tower(self, x: jax.Array, num_outputs: int, *, head_gain: float, name: str) -> jax.Array:
        """One network, float [..., O] -> [..., num_outputs]."""
        for layer in range(2):
            x = nn.tanh(_dense(x, self.hidden, 2**0.5, f"{name}_{layer}"))
        return _dense(x, num_outputs, head_gain, f"{name}_head")


def _dense(x: jax.Array, num_outputs: int, gain: float, name: str) -> jax.Array:
    """Linear layer of a compact module; its outputs spread about `gain` times its inputs."""
    kernel_init = nn.initializers.variance_scaling(gain**2, "fan_in", "normal")
    return nn.Dense(num_outputs, kernel_init=kernel_init, name=name)(x)


def make_ppo(
    env: base.Env, config: PpoConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, jax.Array], History]:
    """Builds the source.

    Args:
        env: the environment.
        config: the learner's settings.
        num_streams: histories of a task, R; one policy acts in and learns from all of them.
        num_steps: environment steps of each, T.

    Returns:
        Function (key, task) -> History [R, T]; `key` is consumed. The policy changes every
        `config.rollout_length` steps.

    Raises:
        ConfigError: minibatches do not divide a rollout.
    """
    _check_batch_size(config, num_streams)
    network = _ActorCritic(env.spec, config.hidden)
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.grad_clip_norm), optax.adam(config.lr, eps=_ADAM_EPS)
    )
    # No update follows the last rollout, whole or partial: that policy would never act.
    num_updates = (num_steps - 1) // config.rollout_length
    last_length = num_steps - num_updates * config.rollout_length

    def network_fn(params: chex.ArrayTree) -> NetworkFn:
        return functools.partial(network.apply, params)  # type: ignore[return-value]

    def loss_fn(params: chex.ArrayTree, samples: Samples) -> jax.Array:
        log_probs, value = network_fn(params)(samples.obs)
        return ppo_loss(log_probs, value, samples, config)

    def learn(key: jax.Array, task: jax.Array) -> History:
        params_key, reset_key, key, last_key = jax.random.split(key, 4)
        reset_keys = jax.random.split(reset_key, num_streams)
        streams = _Streams(*jax.vmap(lambda k: base.reset(env, k, task))(reset_keys))
        params = network.init(params_key, streams.obs)

        def collect_and_update(
            carry: tuple[_Learner, _Streams], key: jax.Array
        ) -> tuple[tuple[_Learner, _Streams], History]:
            learner, streams = carry
            collect_key, update_key = jax.random.split(key)
            act_fn = network_fn(learner.params)
            streams, history, terminated = _collect(
                env, act_fn, streams, collect_key, task, config.rollout_length
            )
            samples = make_samples(act_fn, history, terminated, config)
            learner = _update(loss_fn, optimizer, learner, samples, update_key, config)
            return (learner, streams), history

        (learner, streams), rollouts = jax.lax.scan(
            collect_and_update,
            (_Learner(params, optimizer.init(params)), streams),
            jax.random.split(key, num_updates),
        )
        act_fn = network_fn(learner.params)
        _, last, _ = _collect(env, act_fn, streams, last_key, task, last_length)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rollouts)
        history = jax.tree.map(lambda *x: jnp.swapaxes(jnp.concatenate(x), 0, 1), flat, last)
        chex.assert_shape(history.log_probs, (num_streams, num_steps, env.spec.num_actions))
        return history

    return learn


def make_samples(
    network_fn: NetworkFn, history: History, terminated: jax.Array, config: PpoConfig
) -> Samples:
    """Estimates advantages and value targets (value + advantage) of a rollout.

    Args:
        network_fn: the policy that acted, and its critic.
        history: [t, R], of a rollout.
        terminated: bool [t, R], a terminal state was reached.
        config: the learner's settings.

    Returns:
        Samples [t, R].
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


def ppo_loss(
    log_probs: jax.Array, value: jax.Array, samples: Samples, config: PpoConfig
) -> jax.Array:
    """Computes the loss of a minibatch.

    -mean(min(ratio A, clip(ratio, 1 - clip, 1 + clip) A)) + value_weight * mean squared error
    of the value - entropy_weight * entropy, with A normalised over the minibatch.

    Args:
        log_probs: float [B, A], the policy's now.
        value: float [B], the critic's now.
        samples: [B], at least two.
        config: the learner's settings.

    Returns:
        float [].
    """
    chex.assert_rank([log_probs, value], [2, 1])
    chex.assert_equal_shape([value, samples.action, samples.advantage, samples.target])
    log_prob = jnp.take_along_axis(log_probs, samples.action[:, None], axis=-1)[:, 0]
    ratio = jnp.exp(log_prob - samples.log_prob)
    clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
    centred = samples.advantage - samples.advantage.mean()
    advantage = centred / (samples.advantage.std(ddof=1) + _STD_EPS)
    surrogate = jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value_error = jnp.square(value - samples.target).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return -surrogate + config.value_weight * value_error - config.entropy_weight * entropy


def _check_batch_size(config: PpoConfig, num_streams: int) -> None:
    """Raises a `ConfigError` unless minibatches of at least two divide a rollout."""
    size, num_samples = config.batch_size, num_streams * config.rollout_length
    if size < 2 or num_samples % size:
        raise ConfigError(
            f"source.ppo.batch_size={size}: must be at least 2 and divide source.num_streams * "
            f"source.ppo.rollout_length = {num_streams} * {config.rollout_length} = {num_samples}"
        )


def _collect(
    env: base.Env,
    network_fn: NetworkFn,
    streams: _Streams,
    key: jax.Array,
    task: jax.Array,
    length: int,
) -> tuple[_Streams, History, jax.Array]:
    """Acts for `length` steps; returns histories [length, R] and `terminated` apart."""
    num_streams = len(streams.obs)

    def act(streams: _Streams, key: jax.Array) -> tuple[_Streams, tuple[History, jax.Array]]:
        action_key, step_key = jax.random.split(key)
        log_probs, _ = network_fn(streams.obs)
        action = jax.random.categorical(action_key, log_probs)
        step = jax.vmap(lambda k, s, a: base.step(env, k, s, a, task))
        timestep = step(jax.random.split(step_key, num_streams), streams.episode, action)
        done = timestep.terminated | timestep.truncated
        transition = Transition(streams.obs, action, timestep.reward, timestep.next_obs, done)
        after = _Streams(timestep.state, timestep.obs)
        return after, (History(transition, log_probs), timestep.terminated)

    streams, (history, terminated) = jax.lax.scan(act, streams, jax.random.split(key, length))
    return streams, history, terminated


def _update(
    loss_fn: Callable[[chex.ArrayTree, Samples], jax.Array],
    optimizer: optax.GradientTransformation,
    learner: _Learner,
    samples: Samples,
    key: jax.Array,
    config: PpoConfig,
) -> _Learner:
    """Epochs of shuffled minibatches over a rollout [t, R]."""
    samples = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)
    num_samples = len(samples.action)

    def descend(learner: _Learner, batch: Samples) -> tuple[_Learner, None]:
        gradient = jax.grad(loss_fn)(learner.params, batch)
        updates, opt_state = optimizer.update(gradient, learner.opt_state)
        return _Learner(optax.apply_updates(learner.params, updates), opt_state), None

    def epoch(learner: _Learner, key: jax.Array) -> tuple[_Learner, None]:
        order = jax.random.permutation(key, num_samples).reshape(-1, config.batch_size)
        # One gather an epoch; the scan then reads consecutive slices.
        return jax.lax.scan(descend, learner, jax.tree.map(lambda x: x[order], samples))

    learner, _ = jax.lax.scan(epoch, learner, jax.random.split(key, config.num_epochs))
    return learner
