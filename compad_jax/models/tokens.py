"""What a token says, as features of a linear embedding."""

import chex
import jax
import jax.numpy as jnp

from compad_jax.envs.base import EnvSpec
from compad_jax.types import Tokens, Transition


def token_features(tokens: Tokens, spec: EnvSpec) -> jax.Array:
    """Concatenates the one-hot parts of a token.

    A dense layer on these features is the sum of one embedding table a part (each
    coordinate of s, s' and the current state, the action), a reward direction and the
    learned null transition; as one matrix product it needs no gather and no scatter.

    Args:
        tokens: [..., L].
        spec: sizes of the parts.

    Returns:
        float32 [..., L, num_features(spec)].
    """
    chex.assert_equal_shape_prefix([tokens.obs, tokens.previous.obs], tokens.obs.ndim - 1)
    previous = tokens.previous
    transition = jnp.concatenate(
        [
            _one_hot_coordinates(previous.obs, spec),
            _one_hot_coordinates(previous.next_obs, spec),
            jax.nn.one_hot(previous.action, spec.num_actions),
            previous.reward[..., None].astype(jnp.float32),
            previous.done[..., None].astype(jnp.float32),
        ],
        axis=-1,
    )
    is_first = tokens.is_first[..., None].astype(jnp.float32)
    return jnp.concatenate(
        [_one_hot_coordinates(tokens.obs, spec), transition * (1 - is_first), is_first], axis=-1
    )


def num_features(spec: EnvSpec) -> int:
    """Length of the features of a token."""
    return 3 * sum(spec.obs_sizes) + spec.num_actions + 3


def first_tokens(obs: jax.Array) -> Tokens:
    """The tokens [..., L] at the start of a history: no transition yet, only int [..., L, O]."""
    none = jnp.zeros(obs.shape[:-1], jnp.int32)
    previous = Transition(jnp.zeros_like(obs), none, none * 0.0, jnp.zeros_like(obs), none > 0)
    return Tokens(previous=previous, is_first=none == 0, obs=obs)


def _one_hot_coordinates(obs: jax.Array, spec: EnvSpec) -> jax.Array:
    """One-hot of each coordinate, side by side: rows and columns generalise apart."""
    parts = [jax.nn.one_hot(obs[..., i], size) for i, size in enumerate(spec.obs_sizes)]
    return jnp.concatenate(parts, axis=-1)
