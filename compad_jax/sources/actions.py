"""Drawing actions, and the log-probabilities that a history keeps of them."""

import jax
import jax.numpy as jnp


def taken_log_probs(log_probs: jax.Array, says_nothing: jax.Array) -> jax.Array:
    """The policy to imitate: the source's own, or uniform where its action says nothing.

    (float [..., A], bool [...]) -> float [..., A]. An action says nothing where the environment
    drew it (see `envs.protocol.TimeStep` for `distracted`), or where any was as good.
    """
    uniform = -jnp.log(log_probs.shape[-1])
    return jnp.where(says_nothing[..., None], uniform, log_probs)


def draw_action(noise: jax.Array, log_probs: jax.Array) -> jax.Array:
    """Draws the first action whose cumulative probability exceeds the noise: int [...].

    One number a step suffices, where `jax.random.categorical` draws one an action. The noise is
    float [...], uniform in [0, 1). An action whose log-probability, of [..., A], is -inf is never
    drawn.
    """
    cumulative = jnp.exp(log_probs).cumsum(-1)
    # Scaled by the sum, which rounding may leave below the noise.
    threshold = noise[..., None] * cumulative[..., -1:]
    return (threshold >= cumulative[..., :-1]).sum(-1, dtype=jnp.int32)
