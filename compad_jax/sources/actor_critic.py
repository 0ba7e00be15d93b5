"""Policy and value of a state, by two networks that share nothing."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from compad_jax.envs import protocol

# A singular value grows by half in every step while it is small; 40 steps raise 1e-6 to 1.
_NEWTON_SCHULZ_STEPS = 40

# Observations, [..., O], to log-probabilities, float [..., A], and values, float [...].
NetworkFn = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class ActorCritic(nn.Module):
    """Two tanh layers each, of raw coordinates, as in Stable-Baselines3 2.x; see `NetworkFn`."""

    spec: protocol.EnvSpec
    hidden: int
    critic_gain: float  # Scale of the first values.

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps [..., O] to float [..., A] and float [...]."""
        chex.assert_axis_dimension(obs, -1, self.spec.obs_size)
        inputs = obs.astype(jnp.float32)
        # A small last layer starts the policy near uniform.
        logits = self._tower(inputs, self.spec.num_actions, head_gain=0.01, name="actor")
        value = self._tower(inputs, 1, head_gain=self.critic_gain, name="critic")
        return jax.nn.log_softmax(logits), value[..., 0]

    def _tower(self, x: jax.Array, num_outputs: int, *, head_gain: float, name: str) -> jax.Array:
        """One network, float [..., O] -> [..., num_outputs]."""
        for layer in range(2):
            x = nn.tanh(_dense(x, self.hidden, 2**0.5, f"{name}_{layer}"))
        return _dense(x, num_outputs, head_gain, f"{name}_head")


def _dense(x: jax.Array, num_outputs: int, gain: float, name: str) -> jax.Array:
    """Linear layer of a compact module, `gain` times orthogonal at first."""

    def kernel_init(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
        return gain * orthogonal(key, shape).astype(dtype)

    return nn.Dense(num_outputs, kernel_init=kernel_init, name=name)(x)


def orthogonal(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Draws a matrix, float32, whose singular values are all 1, uniformly; the key is consumed.

    The orthogonal factor of a normal matrix, by Newton-Schulz iterations, which drive every
    singular value to 1: a batched QR can deadlock on a CPU. Rows or columns, whichever are fewer,
    are orthonormal.
    """
    matrix = jax.random.normal(key, shape)
    matrix /= jnp.linalg.norm(matrix)

    def iterate(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return 1.5 * x - 0.5 * x @ (x.T @ x), None

    return jax.lax.scan(iterate, matrix, length=_NEWTON_SCHULZ_STEPS)[0]


def tabulate(network_fn: NetworkFn, space: protocol.Discrete) -> NetworkFn:
    """Evaluates a network once on every observation; the same function then only looks up rows."""
    rows = network_fn(jnp.asarray(protocol.all_observations(space)))

    def look_up(obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        index = protocol.observation_index(space, obs)
        log_probs, value = jax.tree.map(lambda x: x[index], rows)
        return log_probs, value

    return look_up
