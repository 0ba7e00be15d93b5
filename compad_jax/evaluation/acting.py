"""How a policy acts: the one pure function under evaluations and under `compad_jax.Agent`."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from compad_jax.models import Params, Policy, init_window, observe
from compad_jax.training.losses import undo_smoothing
from compad_jax.types import Tokens, Transition, Window


class Seen(NamedTuple):
    """What B environments show when an action is due, and what the last one did."""

    obs: jax.Array  # [B, O], to act on; the first of an episode where `done`.
    reward: jax.Array  # float [B]
    done: jax.Array  # bool [B], the last action ended an episode.
    final_obs: jax.Array  # [B, O], where the last action led; `obs` unless `done`.
    action: jax.Array  # int [B], the one really taken: an environment may replace it.


class ActingState(NamedTuple):
    """What a policy keeps between two actions; nothing in it grows."""

    window: Window
    obs: jax.Array  # [B, O], acted on last.
    action: jax.Array  # int [B], chosen last.
    keys: jax.Array  # PRNG keys [B]; an environment's actions depend on its own key only.
    greedy: jax.Array  # bool [B], take the likeliest action instead of sampling.
    step: jax.Array  # int [], of the action that is due, from 1.


def init_acting(policy: Policy, params: Params, keys: jax.Array, greedy: jax.Array) -> ActingState:
    """The state before the first action in B environments: PRNG keys [B]; greedy, bool [B]."""
    chex.assert_equal_shape([keys, greedy])
    batch, spec = len(greedy), policy.spec
    return ActingState(
        window=init_window(policy, params, batch),
        obs=jnp.zeros((batch, spec.obs_size), spec.obs_dtype),
        action=jnp.zeros(batch, jnp.int32),
        keys=keys,
        greedy=greedy,
        step=jnp.ones((), jnp.int32),
    )


def first_seen(obs: jax.Array) -> Seen:
    """What there is to see before any action: [B, O]."""
    none = jnp.zeros(len(obs), jnp.int32)
    return Seen(obs, none.astype(jnp.float32), none > 0, jnp.zeros_like(obs), none)


def act(
    policy: Policy, smoothing: float, params: Params, state: ActingState, seen: Seen
) -> tuple[ActingState, jax.Array]:
    """Reads what the environments show and chooses an action for each.

    `smoothing` is the label smoothing of the training, undone before sampling. At the first step,
    only `seen.obs` counts.

    Returns:
        The next state, whose `action` is to be taken, and float32 logits [B, A].
    """
    previous = previous_transition(state, seen)
    is_first = jnp.broadcast_to(state.step == 1, seen.done.shape)
    tokens = jax.tree.map(lambda x: x[:, None], Tokens(previous, is_first, seen.obs))
    window, logits = observe(policy, params, state.window, tokens)
    keys = step_keys(state.keys, state.step)[:, 0]
    sampled = jax.vmap(jax.random.categorical)(keys, undo_smoothing(logits, smoothing))
    action = jnp.where(state.greedy, logits.argmax(-1), sampled).astype(jnp.int32)
    after = state._replace(window=window, obs=seen.obs, action=action, step=state.step + 1)
    return after, logits


def action_log_probs(logits: jax.Array, greedy: jax.Array, smoothing: float) -> jax.Array:
    """How `act` chooses: logits [B, A] and greedy, bool [B] -> log-probabilities [B, A]."""
    best = jnp.log(jax.nn.one_hot(logits.argmax(-1), logits.shape[-1]))
    return jnp.where(greedy[:, None], best, undo_smoothing(logits, smoothing))


def previous_transition(state: ActingState, seen: Seen) -> Transition:
    """What the last action did, as the policy reads it: [B]."""
    return Transition(state.obs, seen.action, seen.reward, seen.final_obs, seen.done)


def step_keys(keys: jax.Array, step: jax.Array) -> jax.Array:
    """Keys [B, 2] of a step: for the policy, and for its environment where one is simulated."""
    return jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, step)))(keys)
