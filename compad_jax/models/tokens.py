"""What a token says, as features of a linear embedding."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs.protocol import EnvSpec
from compad_jax.types import Tokens, Transition


def token_features(tokens: Tokens, spec: EnvSpec) -> jax.Array:
    """Concatenates the parts of a token.

    A dense layer on these features is the sum of one embedding a part (each coordinate of
    s, s' and the current state, the action), a reward direction and the learned null
    transition; as one matrix product its gradient needs no scatter.

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
            _coordinates(previous.obs, spec),
            _coordinates(previous.next_obs, spec),
            jax.nn.one_hot(previous.action, spec.num_actions),
            previous.reward[..., None].astype(jnp.float32),
            previous.done[..., None].astype(jnp.float32),
        ],
        axis=-1,
    )
    is_first = tokens.is_first[..., None].astype(jnp.float32)
    return jnp.concatenate(
        [_coordinates(tokens.obs, spec), transition * (1 - is_first), is_first], axis=-1
    )


def num_features(spec: EnvSpec) -> int:
    """Length of the features of a token."""
    coordinates = sum(size + _num_waves(size) for size in spec.obs_sizes)
    return 3 * coordinates + spec.num_actions + 3


def first_tokens(obs: jax.Array) -> Tokens:
    """The tokens [..., L] at the start of a history: no transition yet, only int [..., L, O]."""
    none = jnp.zeros(obs.shape[:-1], jnp.int32)
    previous = Transition(jnp.zeros_like(obs), none, none * 0.0, jnp.zeros_like(obs), none > 0)
    return Tokens(previous=previous, is_first=none == 0, obs=obs)


def _coordinates(obs: jax.Array, spec: EnvSpec) -> jax.Array:
    """One-hot and a few low cosines of each coordinate, side by side.

    Coordinates apart, so that rows and columns generalise each by itself; cosines, so that
    neighbours start out alike and goals that were never trained on lie between others.
    """
    parts = [jnp.asarray(_value_features(n))[obs[..., i]] for i, n in enumerate(spec.obs_sizes)]
    return jnp.concatenate(parts, axis=-1)


def _value_features(size: int) -> np.ndarray:
    """The features of each value of a coordinate, float32 [size, features]."""
    phase = np.pi * (np.arange(size) + 0.5) / size
    wave = np.arange(1, _num_waves(size) + 1)
    features = [np.eye(size), np.cos(wave * phase[:, None])]
    return np.concatenate(features, axis=1, dtype=np.float32)


def _num_waves(size: int) -> int:
    """Cosines of a coordinate; with `size` of them they would say as much as one-hot."""
    return min(4, size - 1)
