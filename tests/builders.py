"""Small objects that several tests need."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import Config, from_dict, to_dict
from compad_jax.envs import make_env, protocol
from compad_jax.models import init_params, make_policy
from compad_jax.types import Segments, Tokens, Transition


def override(config: Config, **groups: dict) -> Config:
    """A validated copy with some fields of some groups replaced."""
    values = to_dict(config)
    for group, fields in groups.items():
        values[group] |= fields
    return from_dict(values)


def random_keys(shape) -> jax.Array:
    """Independent PRNG keys, drawn by NumPy because that needs no compilation."""
    shape = np.empty(shape).shape
    return jax.random.wrap_key_data(
        np.random.default_rng(0).integers(2**32, size=(*shape, 2), dtype=np.uint32)
    )


def random_transitions(key, spec, shape) -> Transition:
    """Transitions of no environment at all: every field is independent noise."""
    keys = jax.random.split(key, 5)
    num_coordinates = len(spec.obs_sizes)
    return Transition(
        obs=jax.random.randint(keys[0], (*shape, num_coordinates), 0, min(spec.obs_sizes)),
        action=jax.random.randint(keys[1], shape, 0, spec.num_actions),
        reward=jax.random.normal(keys[2], shape),
        next_obs=jax.random.randint(keys[3], (*shape, num_coordinates), 0, min(spec.obs_sizes)),
        done=jax.random.bernoulli(keys[4], 0.1, shape),
    )


def tokens_of(transition: Transition) -> Tokens:
    """The tokens [B, T] of whole histories [B, T]."""
    previous = jax.tree.map(lambda x: jnp.roll(x, 1, axis=1), transition)
    is_first = jnp.zeros(transition.action.shape, bool).at[:, 0].set(True)
    return Tokens(previous, is_first, transition.obs)


def cut(transition: Transition, lengths: list[int], padded_length: int) -> Segments:
    """Histories [B, T] as consecutive segments [B, S, L]; padding repeats other tokens."""
    tokens = tokens_of(transition)
    num_steps = transition.action.shape[1]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    offset = jnp.arange(padded_length)
    step = jnp.array(starts)[:, None] + offset
    mask = (offset < jnp.array(lengths)[:, None]) & (step < num_steps)
    step = step % num_steps
    tokens, action = jax.tree.map(lambda x: x[:, step], (tokens, transition.action))
    mask = jnp.broadcast_to(mask, action.shape)
    return Segments(tokens, action, mask, jnp.zeros(action.shape))


@functools.cache
def make_model(config: Config, seed: int = 0):
    """(policy, params) with weights large enough that every path matters."""
    policy = make_policy(config, make_env(config.env).spec)
    params = init_params(policy, jax.random.key(seed))
    return policy, jax.tree.map(lambda x: jnp.asarray(1.2 * x), params)


def play(env, keys, actions):
    """Given actions [T, G] in every task: first observations [G, O] and time steps [T, G].

    Keys [T + 1, G]: one a step, and the last for the first reset.
    """

    def act(state, key_and_action):
        step = jax.vmap(lambda k, s, a, t: protocol.step(env, k, s, a, t))
        timestep = step(key_and_action[0], state, key_and_action[1], env.tasks)
        return timestep.state, timestep

    state, first = jax.vmap(lambda k, t: protocol.reset(env, k, t))(keys[-1], env.tasks)
    return first, jax.lax.scan(act, state, (keys[:-1], actions))[1]
