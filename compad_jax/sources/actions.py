"""Drawing actions, and the log-probabilities that a history keeps of them."""

import jax
import jax.numpy as jnp


def taken_log_probs(log_probs: jax.Array, distracted: jax.Array) -> jax.Array:
    """The policy behind an action: the source's own, or uniform where the environment drew it.

    Args:
        log_probs: float [..., A], of the source.
        distracted: bool [...], see `envs.protocol.TimeStep`.

    Returns:
        float [..., A].
    """
    uniform = -jnp.log(log_probs.shape[-1])
    return jnp.where(distracted[..., None], uniform, log_probs)


def draw_action(noise: jax.Array, log_probs: jax.Array) -> jax.Array:
    """Draws the first action whose cumulative probability exceeds the noise.

    One number a step suffices, where `jax.random.categorical` draws one an action.

    Args:
        noise: float [...], uniform in [0, 1).
        log_probs: float [..., A]; an action of -inf is never drawn.

    Returns:
        int [...].
    """
    cumulative = jnp.exp(log_probs).cumsum(-1)
    # Scaled by the sum, which rounding may leave below the noise.
    threshold = noise[..., None] * cumulative[..., -1:]
    return (threshold >= cumulative[..., :-1]).sum(-1, dtype=jnp.int32)
