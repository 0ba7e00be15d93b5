"""In-context rollouts: a frozen policy acts in many environments at once, history kept."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from compad_jax.envs import protocol
from compad_jax.evaluation.acting import (
    ActingState,
    Seen,
    act,
    first_seen,
    init_acting,
    step_keys,
)
from compad_jax.models import Params, Policy
from compad_jax.types import Transition


class Tally(NamedTuple):
    """What the first E episodes of B rollouts came to, whatever their lengths."""

    returns: jax.Array  # float [B, E]; of the current episode, so far.
    lengths: jax.Array  # int [B, E], steps.
    num_compressions: jax.Array  # int [B, E], of the rollout by the end of the episode.
    episode: jax.Array  # int [B], the current one; E or more: all are finished.


class RolloutState(NamedTuple):
    """Where B rollouts stand; nothing in it grows."""

    acting: ActingState
    seen: Seen  # [B], what the policy reads next.
    episode: protocol.EpisodeState  # [B]
    tasks: Any  # [B, ...]
    tally: Tally


class StepRecord(NamedTuple):
    """What a step of a rollout leaves behind."""

    transition: Transition  # [B]
    logits: jax.Array  # float [B, A]


def init_rollout(
    policy: Policy,
    params: Params,
    env: protocol.Env,
    tasks: Any,
    keys: jax.Array,
    greedy: jax.Array,
    *,
    num_episodes: int,
) -> RolloutState:
    """Starts B rollouts with empty histories.

    Args:
        policy: the policy.
        params: its parameters.
        env: the environment.
        tasks: [B, ...].
        keys: PRNG keys [B]; a rollout depends on its own key only.
        greedy: bool [B].
        num_episodes: how many of each rollout are counted, E.

    Returns:
        The state before the first step.
    """
    chex.assert_equal_shape_prefix([*jax.tree.leaves(tasks), keys, greedy], 1)
    reset_keys = jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys)
    episode, obs = jax.vmap(lambda k, t: protocol.reset(env, k, t))(reset_keys, tasks)
    return RolloutState(
        acting=init_acting(policy, params, keys, greedy),
        seen=first_seen(obs),
        episode=episode,
        tasks=tasks,
        tally=_empty_tally(len(greedy), num_episodes),
    )


def _empty_tally(batch: int, num_episodes: int) -> Tally:
    """Every array has a buffer of its own, which can be donated."""
    shape = (batch, num_episodes)
    return Tally(
        returns=jnp.zeros(shape, jnp.float32),
        lengths=jnp.zeros(shape, jnp.int32),
        num_compressions=jnp.zeros(shape, jnp.int32),
        episode=jnp.zeros(batch, jnp.int32),
    )


def rollout_step(
    policy: Policy, params: Params, env: protocol.Env, smoothing: float, state: RolloutState
) -> tuple[RolloutState, StepRecord]:
    """Every rollout observes, acts once and learns what came of it.

    Args:
        policy: the policy.
        params: its parameters.
        env: the environment; auto-resets.
        smoothing: label smoothing of the training, undone before sampling.
        state: where the rollouts stand.

    Returns:
        The next state and the record of the step.
    """
    keys = step_keys(state.acting.keys, state.acting.step)[:, 1]
    acting, logits = act(policy, smoothing, params, state.acting, state.seen)
    step = jax.vmap(lambda k, s, a, t: protocol.step(env, k, s, a, t))
    timestep = step(keys, state.episode, acting.action, state.tasks)
    seen = Seen(timestep.obs, timestep.reward, timestep.done, timestep.next_obs, timestep.action)
    tally = _count(state.tally, seen, acting.window.num_compressions)
    transition = Transition(state.seen.obs, seen.action, seen.reward, seen.final_obs, seen.done)
    after = RolloutState(acting, seen, timestep.state, state.tasks, tally)
    return after, StepRecord(transition, logits)


def _count(tally: Tally, seen: Seen, num_compressions: jax.Array) -> Tally:
    """Adds a step to the episode that it belongs to; episodes beyond the last are ignored."""
    place = jnp.arange(len(tally.episode)), tally.episode
    return Tally(
        returns=tally.returns.at[place].add(seen.reward, mode="drop"),
        lengths=tally.lengths.at[place].add(1, mode="drop"),
        num_compressions=tally.num_compressions.at[place].set(num_compressions, mode="drop"),
        episode=tally.episode + seen.done,
    )


def make_rollout(
    policy: Policy,
    env: protocol.Env,
    *,
    smoothing: float,
    num_steps: int,
    shardings: RolloutState | None = None,
) -> Any:
    """Builds the jitted function that plays on for `num_steps` steps.

    Episodes have any length: what they came to is in the state's `tally`. Calling the function
    again with the state it returned goes on with the same histories, and memory does not grow
    with the number of steps.

    Args:
        policy: the policy.
        env: the environment.
        smoothing: see `rollout_step`.
        num_steps: steps a call.
        shardings: of the state; the same before and after a call.

    Returns:
        Function (params, state) -> state; the state is donated.
    """

    def play(params: Params, state: RolloutState) -> RolloutState:
        def step(_: jax.Array, state: RolloutState) -> RolloutState:
            return rollout_step(policy, params, env, smoothing, state)[0]

        return jax.lax.fori_loop(0, num_steps, step, state)

    return jax.jit(play, donate_argnums=1, out_shardings=shardings)
