"""Label-smoothed cross entropy, its floor, and the exact inverse of smoothing."""

import chex
import jax
import jax.numpy as jnp


def smoothed_cross_entropy(logits: jax.Array, action: jax.Array, smoothing: float) -> jax.Array:
    """Cross entropy in nats against (1 - eps) onehot(action) + eps / A: float32 [...].

    Logits are [..., A]; actions, int [...], in [0, A); the smoothing eps lies in [0, 1).

    Source: Szegedy et al. (2016), Rethinking the inception architecture, section 7.
    """
    chex.assert_equal_shape_prefix([logits, action], action.ndim)
    num_actions = logits.shape[-1]
    # A product, because the gradient of a lookup is a scatter, which is a loop on a CPU.
    target = (1 - smoothing) * jax.nn.one_hot(action, num_actions) + smoothing / num_actions
    return -(target * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


def loss_floor(log_probs: jax.Array, smoothing: float) -> jax.Array:
    """Lowest expected smoothed loss, in nats, of a model that knows the source's policy exactly.

    It is the entropy of the smoothed policy, H((1 - eps) pi + eps / A): float32 [...]. `log_probs`
    is log pi, [..., A], where -inf is allowed.
    """
    probs = jnp.exp(log_probs.astype(jnp.float32))
    target = (1 - smoothing) * probs + smoothing / probs.shape[-1]
    return jax.scipy.special.entr(target).sum(-1)


def undo_smoothing(logits: jax.Array, smoothing: float) -> jax.Array:
    """The policy behind a prediction, logits [..., A], that was trained on smoothed labels.

    A perfect model predicts q = (1 - eps) p + eps / A, so p = max(0, (q - eps / A) / (1 - eps)),
    renormalised because an imperfect one may fall below eps / A.

    Returns:
        Log-probabilities, float32 [..., A]; -inf where p is 0.
    """
    q = jax.nn.softmax(logits.astype(jnp.float32))
    p = jnp.maximum(0.0, (q - smoothing / q.shape[-1]) / (1 - smoothing))
    return jnp.log(p / p.sum(-1, keepdims=True))


def count_true(
    mask: jax.Array, *, axis: tuple[int, ...] | None = None, axis_name: str | None = None
) -> jax.Array:
    """Counts the true entries of a mask, as the divisor of a mean over them: at least 1, float32.

    With `axis_name`, a mesh axis that splits the batch, all devices are counted: a sum of one
    device over this number is its share of the mean, and shares add up.
    """
    count = mask.astype(jnp.float32).sum(axis)
    if axis_name is not None:
        count = jax.lax.psum(count, axis_name)
    return jnp.maximum(count, 1)
