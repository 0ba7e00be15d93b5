"""What a token says, as features of a linear embedding."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.types import Tokens, Transition


def token_features(tokens: Tokens, spec: EnvSpec) -> jax.Array:
    """Concatenates the parts of tokens [..., L]: float32 [..., L, num_features(spec)].

    A dense layer on these features is the sum of one embedding a part (each coordinate of
    s, s' and the current observation, the action), a reward direction and the learned null
    transition; as one matrix product its gradient needs no scatter.
    """
    chex.assert_equal_shape_prefix([tokens.obs, tokens.previous.obs], tokens.obs.ndim - 1)
    previous = tokens.previous
    transition = jnp.concatenate(
        [
            obs_features(previous.obs, spec),
            obs_features(previous.next_obs, spec),
            jax.nn.one_hot(previous.action, spec.num_actions),
            scale(previous.reward, *spec.reward_range)[..., None],
            previous.done[..., None].astype(jnp.float32),
        ],
        axis=-1,
    )
    is_first = tokens.is_first[..., None].astype(jnp.float32)
    return jnp.concatenate(
        [obs_features(tokens.obs, spec), transition * (1 - is_first), is_first], axis=-1
    )


def num_features(spec: EnvSpec) -> int:
    """Length of the features of a token."""
    size = spec.obs_size
    if isinstance(spec.obs_space, Discrete):
        size = sum(n + _num_waves(n) for n in spec.obs_space.sizes)
    return 3 * size + spec.num_actions + 3


def first_tokens(obs: jax.Array) -> Tokens:
    """The tokens [..., L] at the start of a history: no transition yet, only [..., L, O]."""
    none = jnp.zeros(obs.shape[:-1], jnp.int32)
    previous = Transition(jnp.zeros_like(obs), none, none * 0.0, jnp.zeros_like(obs), none > 0)
    return Tokens(previous=previous, is_first=none == 0, obs=obs)


def obs_features(obs: jax.Array, spec: EnvSpec) -> jax.Array:
    """The features of an observation [..., O]: float32 [..., features].

    Real coordinates are scaled. Of an integer coordinate these are its one-hot and a few low
    cosines. Coordinates stand apart, so that rows and columns generalise each by itself;
    cosines let neighbours start out alike, so that goals that were never trained on lie
    between others.
    """
    space = spec.obs_space
    if not isinstance(space, Discrete):
        return scale(obs, np.asarray(space.low), np.asarray(space.high)) * 2 - 1
    if len(set(space.sizes)) == 1:  # As below, in one gather: there may be hundreds.
        return jnp.asarray(_value_features(space.sizes[0]))[obs].reshape(*obs.shape[:-1], -1)
    parts = [jnp.asarray(_value_features(n))[obs[..., i]] for i, n in enumerate(space.sizes)]
    return jnp.concatenate(parts, axis=-1)


def scale(x: jax.Array, low: Any, high: Any) -> jax.Array:
    """Maps [low, high] to [0, 1]; float32."""
    return ((x - low) / (high - low)).astype(jnp.float32)


def _value_features(size: int) -> np.ndarray:
    """The features of each value of a coordinate, float32 [size, features]."""
    phase = np.pi * (np.arange(size) + 0.5) / size
    wave = np.arange(1, _num_waves(size) + 1)
    features = [np.eye(size), np.cos(wave * phase[:, None])]
    return np.concatenate(features, axis=1, dtype=np.float32)


def _num_waves(size: int) -> int:
    """Cosines of a coordinate; with `size` of them they would say as much as one-hot."""
    return min(4, size - 1)
