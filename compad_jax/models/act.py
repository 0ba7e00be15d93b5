"""The acting path: a policy reads one token at a time; a full window is compressed first.

`unroll` is the other way to run the same functions on the same parameters; tests hold their
logits equal.
"""

import jax
import jax.numpy as jnp

from compad_jax.models.memory.protocol import Memory
from compad_jax.models.policy import Params, Policy, apply_method
from compad_jax.types import Tokens, Window


def init_window(policy: Policy, params: Params, batch: int) -> Window:
    """State of a policy that has seen nothing yet."""
    memory = apply_method(policy, params, "initial_memory", batch)
    nothing = jnp.zeros((batch, 0, policy.config.tf_n_embd), policy.dtype)
    return _open_window(policy, params, memory, nothing, jnp.zeros((), jnp.int32))


def observe(
    policy: Policy, params: Params, window: Window, tokens: Tokens
) -> tuple[Window, jax.Array]:
    """Acting path: reads one token; a full window is compressed first.

    Args:
        policy: the policy.
        params: its parameters.
        window: the state, B environments in lockstep.
        tokens: [B, 1], what each environment shows now.

    Returns:
        The next state and float32 logits [B, A]. The cost does not depend on how long
        the history is.
    """
    window = jax.lax.cond(
        window.length == policy.window,
        lambda full: _compress_oldest(policy, params, full),
        lambda same: same,
        window,
    )
    embedding = apply_method(policy, params, "embed", tokens)
    logits, cache = apply_method(
        policy, params, "decode_next", embedding, window.cache, window.length
    )
    embeddings = jax.lax.dynamic_update_slice_in_dim(
        window.embeddings, embedding, window.length, axis=1
    )
    window = window._replace(embeddings=embeddings, cache=cache, length=window.length + 1)
    return window, logits


def absorb(policy: Policy, params: Params, window: Window, tokens: Tokens) -> Window:
    """Reads tokens at which nothing is decided: as many calls of `observe`, at a fraction.

    Args:
        policy: the policy.
        params: its parameters.
        window: a full one, B environments in lockstep.
        tokens: [B, C], as many as a compression takes.

    Returns:
        A full window. Its cache is out of date, and nothing reads it: a full window is compressed
        first, which makes a new one.
    """
    memory, kept = _write_oldest(policy, params, window)
    embeddings = jnp.concatenate([kept, apply_method(policy, params, "embed", tokens)], axis=1)
    return window._replace(
        memory=memory, embeddings=embeddings, num_compressions=window.num_compressions + 1
    )


def find_gates(policy: Policy, params: Params, window: Window) -> jax.Array | None:
    """How far each latent's gate opens when the window, a full one, is compressed now.

    Returns:
        float [B, M] in [0, 1], the mean over channels where these have gates of their own. A
        rule tells of its gate by `self.sow("intermediates", "opened", g)`; None: it has none.
    """
    oldest = window.embeddings[:, : policy.compress_length]
    mask = jnp.ones(oldest.shape[:2], bool)
    variables = {"params": params}
    _, told = policy.apply(
        variables, window.memory, oldest, mask, method="write", mutable=["intermediates"]
    )
    opened = told.get("intermediates", {}).get("memory", {}).get("opened")
    return None if opened is None else opened[0].astype(jnp.float32).mean(-1)


def _compress_oldest(policy: Policy, params: Params, window: Window) -> Window:
    """The oldest tokens of a full window become memory (AD: are dropped); the rest stays."""
    memory, kept = _write_oldest(policy, params, window)
    return _open_window(policy, params, memory, kept, window.num_compressions + 1)


def _write_oldest(policy: Policy, params: Params, window: Window) -> tuple[Memory, jax.Array]:
    """The new memory, and the embeddings [B, W - C, D] that stay."""
    oldest, kept = jnp.split(window.embeddings, [policy.compress_length], axis=1)
    mask = jnp.ones(oldest.shape[:2], bool)
    return apply_method(policy, params, "write", window.memory, oldest, mask), kept


def _open_window(
    policy: Policy, params: Params, memory: Memory, kept: jax.Array, num_compressions: jax.Array
) -> Window:
    """A window that holds the `kept` tokens [B, L, D] after a new memory."""
    latents = apply_method(policy, params, "read", memory)
    _, cache = apply_method(policy, params, "decode", latents, kept)
    length = kept.shape[1]

    def pad(x: jax.Array) -> jax.Array:
        """To a whole window, at the end of the next to last axis."""
        return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, policy.window - length), (0, 0)])

    return Window(
        memory=memory,
        embeddings=pad(kept),
        cache=jax.tree.map(pad, cache),
        length=jnp.full((), length, jnp.int32),
        num_compressions=num_compressions,
    )
