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


def with_setting(path: str, value: object) -> dict:
    """The defaults as a dictionary, with the setting of a dotted path replaced."""
    values = group = to_dict(Config())
    *groups, name = path.split(".")
    for each in groups:
        group = group[each]
    group[name] = value
    return values


def random_keys(shape) -> jax.Array:
    """Independent PRNG keys, drawn by NumPy because that needs no compilation."""
    shape = np.empty(shape).shape
    return jax.random.wrap_key_data(
        np.random.default_rng(0).integers(2**32, size=(*shape, 2), dtype=np.uint32)
    )


def random_transitions(key, spec, shape) -> Transition:
    """Transitions of no environment at all: every field is independent noise."""
    noise = np.random.default_rng(np.asarray(jax.random.key_data(key)))  # Compiles nothing.
    obs = noise.integers(min(spec.obs_space.sizes), size=(2, *shape, len(spec.obs_space.sizes)))
    transition = Transition(
        obs=obs[0].astype(np.int32),
        action=noise.integers(spec.num_actions, size=shape, dtype=np.int32),
        reward=noise.normal(size=shape).astype(np.float32),
        next_obs=obs[1].astype(np.int32),
        done=noise.random(shape) < 0.1,
    )
    return jax.tree.map(jnp.asarray, transition)


def tokens_of(transition: Transition) -> Tokens:
    """The tokens [B, T] of whole histories [B, T]."""
    previous = jax.tree.map(lambda x: jnp.asarray(np.roll(x, 1, axis=1)), transition)
    is_first = jnp.asarray(np.indices(transition.action.shape)[1] == 0)
    return Tokens(previous, is_first, transition.obs)


def cut(transition: Transition, lengths: list[int], padded_length: int) -> Segments:
    """Histories [B, T] as consecutive segments [B, S, L]; padding repeats other tokens."""
    tokens = tokens_of(transition)
    num_steps = transition.action.shape[1]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    offset = np.arange(padded_length)
    step = np.array(starts)[:, None] + offset
    mask = (offset < np.array(lengths)[:, None]) & (step < num_steps)
    step = step % num_steps
    tokens, action = jax.tree.map(lambda x: np.asarray(x)[:, step], (tokens, transition.action))
    mask = np.broadcast_to(mask, action.shape)
    segments = Segments(tokens, action, mask, mask, np.zeros(action.shape, np.float32))
    return jax.tree.map(jnp.asarray, segments)


@functools.cache
def make_model(config: Config, seed: int = 0):
    """(policy, params) with weights large enough that every path matters."""
    policy = make_policy(config, make_env(config.env).spec)
    params = init_params(policy, jax.random.key(seed))
    return policy, jax.tree.map(lambda x: jnp.asarray(1.2 * x), params)


def tasks_of(env):
    """Every task of a small family, [G, ...]."""
    return protocol.make_tasks(env, np.arange(env.num_tasks))


def play(env, keys, actions, tasks=None):
    """Given actions [T, G] in tasks, or in every one: first observations [G, O], steps [T, G].

    Keys [T + 1, G]: one a step, and the last for the first reset.
    """

    tasks = tasks_of(env) if tasks is None else tasks

    def act(state, key_and_action):
        step = jax.vmap(lambda k, s, a, t: protocol.step(env, k, s, a, t))
        timestep = step(key_and_action[0], state, key_and_action[1], tasks)
        return timestep.state, timestep

    state, first = jax.vmap(lambda k, t: protocol.reset(env, k, t))(keys[-1], tasks)
    return first, jax.lax.scan(act, state, (keys[:-1], actions))[1]
