"""Policy and value of a state, by two networks that share nothing."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from compad_jax.envs import base

# Observations, int [..., O], to log-probabilities, float [..., A], and values, float [...].
NetworkFn = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class ActorCritic(nn.Module):
    """Two tanh layers each; see `NetworkFn`.

    Weights are drawn normal, not orthogonal (a batched QR can deadlock on a CPU), with the
    gains of Stable-Baselines3 2.x. Coordinates are scaled to [-1, 1], so that a network
    starts alike on every size of grid.
    """

    spec: base.EnvSpec
    hidden: int
    critic_gain: float  # Scale of the first values.

    @nn.compact
    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps int [..., O] to float [..., A] and float [...]."""
        sizes = jnp.asarray(self.spec.obs_sizes)
        chex.assert_axis_dimension(obs, -1, len(sizes))
        inputs = 2 * obs / jnp.maximum(sizes - 1, 1) - 1
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
    """Linear layer of a compact module; its outputs spread about `gain` times its inputs."""
    kernel_init = nn.initializers.variance_scaling(gain**2, "fan_in", "normal")
    return nn.Dense(num_outputs, kernel_init=kernel_init, name=name)(x)


def tabulate(network_fn: NetworkFn, spec: base.EnvSpec) -> NetworkFn:
    """Evaluates a network once on every observation; the result only looks up rows.

    Args:
        network_fn: any function of observations.
        spec: what may be observed.

    Returns:
        The same function.
    """
    rows = network_fn(jnp.asarray(base.all_observations(spec)))

    def look_up(obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        index = base.observation_index(spec, obs)
        log_probs, value = jax.tree.map(lambda x: x[index], rows)
        return log_probs, value

    return look_up
