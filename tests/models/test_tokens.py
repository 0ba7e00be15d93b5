"""Token features against a computation by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import make_env
from compad_jax.models.tokens import first_tokens, num_features, token_features
from tests.builders import random_transitions, tokens_of


def test_token_features_say_everything_once(debug_config):
    spec = make_env(debug_config.env).spec
    history = random_transitions(jax.random.key(0), spec, (2, 7))
    history = history._replace(done=history.done.at[0].set(jnp.arange(7) % 2 == 1))
    tokens = tokens_of(history)
    features = np.asarray(token_features(tokens, spec))
    chex.assert_shape(features, (2, 7, num_features(spec)))
    for t in (4, 5):  # After the end of an episode, and within one.
        np.testing.assert_allclose(features[0, t], _by_hand(history, spec, t), atol=1e-6)
    assert history.done[0, 3]
    assert not history.done[0, 4]


def _by_hand(history, spec, t):
    """Features of token t of the first history, which shows the transition before."""

    def place(obs):
        one_hot = [np.eye(size)[x] for x, size in zip(obs, spec.obs_space.sizes, strict=True)]
        waves = [
            [np.cos(np.pi * k * (int(x) + 0.5) / size) for k in (1, 2, 3, 4)]
            for x, size in zip(obs, spec.obs_space.sizes, strict=True)
        ]
        return np.concatenate([one_hot[0], waves[0], one_hot[1], waves[1]])

    return np.concatenate(
        [
            place(history.obs[0, t]),
            place(history.obs[0, t - 1]),
            place(history.next_obs[0, t - 1]),
            np.eye(spec.num_actions)[history.action[0, t - 1]],
            [history.reward[0, t - 1], history.done[0, t - 1], 0.0],
        ]
    )


def test_first_token_shows_the_current_state_and_nothing_else(debug_config):
    spec = make_env(debug_config.env).spec
    obs = jnp.array([[[3, 1]]])
    features = np.asarray(token_features(first_tokens(obs), spec))[0, 0]
    num_current = sum(size + 4 for size in spec.obs_space.sizes)
    assert features[:num_current].any()
    assert not features[num_current:-1].any()
    assert features[-1] == 1
    history = random_transitions(jax.random.key(0), spec, (1, 3))
    at_start = np.asarray(token_features(tokens_of(history), spec))[0, 0]
    assert not at_start[num_current:-1].any()  # What `roll` left there is hidden.
