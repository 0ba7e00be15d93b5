"""Label-smoothed cross entropy, its floor, and the exact inverse of smoothing."""

import chex
import jax
import jax.numpy as jnp


def smoothed_cross_entropy(logits: jax.Array, action: jax.Array, smoothing: float) -> jax.Array:
    """Cross entropy against (1 - eps) onehot(action) + eps / A.

    Args:
        logits: [..., A].
        action: int [...], in [0, A).
        smoothing: eps in [0, 1).

    Returns:
        float32 [...], in nats.

    Source: Szegedy et al. (2016), Rethinking the inception architecture, section 7.
    """
    chex.assert_equal_shape_prefix([logits, action], action.ndim)
    num_actions = logits.shape[-1]
    # A product, because the gradient of a lookup is a scatter, which is a loop on a CPU.
    target = (1 - smoothing) * jax.nn.one_hot(action, num_actions) + smoothing / num_actions
    return -(target * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


def loss_floor(log_probs: jax.Array, smoothing: float) -> jax.Array:
    """Lowest expected smoothed loss of a model that knows the source's policy exactly.

    It is the entropy of the smoothed policy, H((1 - eps) pi + eps / A).

    Args:
        log_probs: log pi, [..., A]; -inf is allowed.
        smoothing: eps in [0, 1).

    Returns:
        float32 [...], in nats.
    """
    probs = jnp.exp(log_probs.astype(jnp.float32))
    target = (1 - smoothing) * probs + smoothing / probs.shape[-1]
    return jax.scipy.special.entr(target).sum(-1)


def undo_smoothing(logits: jax.Array, smoothing: float) -> jax.Array:
    """The policy behind a prediction that was trained on smoothed labels.

    A perfect model predicts q = (1 - eps) p + eps / A, so p = max(0, (q - eps / A) / (1 - eps)),
    renormalised because an imperfect one may fall below eps / A.

    Args:
        logits: of q, [..., A].
        smoothing: eps in [0, 1).

    Returns:
        Log-probabilities, float32 [..., A]; -inf where p is 0.
    """
    q = jax.nn.softmax(logits.astype(jnp.float32))
    p = jnp.maximum(0.0, (q - smoothing / q.shape[-1]) / (1 - smoothing))
    return jnp.log(p / p.sum(-1, keepdims=True))


def mean_weights(
    mask: jax.Array, *, axis: tuple[int, ...] | None = None, axis_name: str | None = None
) -> jax.Array:
    """What each true entry of a mask weighs in their mean; 0 for all others.

    Args:
        mask: bool [...].
        axis: to average over; None: all.
        axis_name: mesh axis that splits the batch. A sum with these weights is then this
            device's share of the mean: shares, and their gradients, add up over the devices.

    Returns:
        float32, as `mask`.
    """
    weight = mask.astype(jnp.float32)
    count = weight.sum(axis, keepdims=True)
    if axis_name is not None:
        count = jax.lax.psum(count, axis_name)
    return weight / jnp.maximum(count, 1)


def masked_mean(
    x: jax.Array,
    mask: jax.Array,
    *,
    axis: tuple[int, ...] | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Mean over the true entries of a mask; 0 where there is none.

    Args:
        x: [...].
        mask: bool, as `x`.
        axis: to average over; None: all.
        axis_name: see `mean_weights`.

    Returns:
        x without `axis`.
    """
    chex.assert_equal_shape([x, mask])
    return (x * mean_weights(mask, axis=axis, axis_name=axis_name)).sum(axis)
