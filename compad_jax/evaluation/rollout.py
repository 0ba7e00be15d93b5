"""In-context rollouts: a frozen policy acts in many environments at once, history kept."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from compad_jax.envs import protocol
from compad_jax.evaluation.acting import (
    ActingState,
    Seen,
    act,
    action_log_probs,
    first_seen,
    init_acting,
    previous_transition,
    step_keys,
)
from compad_jax.evaluation.tally import Tally, count, empty_tally, is_over, with_current
from compad_jax.models import Params, Policy, absorb
from compad_jax.types import Tokens, Transition

_Play = Callable[[Params, "RolloutState"], "RolloutState"]


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
    """Starts B rollouts of E episodes that are counted, with empty histories.

    Tasks are [B, ...], PRNG keys [B], greedy is bool [B]; a rollout depends on its own key only.
    """
    chex.assert_equal_shape_prefix([*jax.tree.leaves(tasks), keys, greedy], 1)
    reset_keys = jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys)
    episode, obs = jax.vmap(lambda k, t: protocol.reset(env, k, t))(reset_keys, tasks)
    has_waits = hasattr(env, "distractor")
    return RolloutState(
        acting=init_acting(policy, params, keys, greedy),
        seen=first_seen(obs),
        episode=episode,
        tasks=tasks,
        tally=empty_tally(len(greedy), num_episodes, env.spec.num_actions, has_waits=has_waits),
    )


def rollout_step(
    policy: Policy, params: Params, env: protocol.Env, smoothing: float, state: RolloutState
) -> tuple[RolloutState, StepRecord]:
    """Every rollout observes, acts once and learns what came of it; environments reset themselves.

    `smoothing` is the label smoothing of the training, undone before sampling.
    """
    acting, logits = act(policy, smoothing, params, state.acting, state.seen)
    timestep, seen = _step_envs(env, state, acting.action)
    log_probs = action_log_probs(logits, acting.greedy, smoothing)
    recalls = protocol.recalls(env, state.episode)
    tally = count(state.tally, timestep, acting.window.num_compressions, log_probs, recalls)
    transition = Transition(state.seen.obs, seen.action, seen.reward, seen.final_obs, seen.done)
    after = RolloutState(acting, seen, timestep.state, state.tasks, tally)
    return after, StepRecord(transition, logits)


def _step_envs(
    env: protocol.Env, state: RolloutState, action: jax.Array
) -> tuple[protocol.TimeStep, Seen]:
    """The environments' next time step [B], and what a policy sees of it."""
    keys = step_keys(state.acting.keys, state.acting.step)[:, 1]
    step = jax.vmap(lambda k, s, a, t: protocol.step(env, k, s, a, t))
    timestep = step(keys, state.episode, action, state.tasks)
    seen = Seen(timestep.obs, timestep.reward, timestep.done, timestep.next_obs, timestep.action)
    return timestep, seen


def sit_out(
    policy: Policy, params: Params, env: protocol.Env, state: RolloutState
) -> tuple[RolloutState, jax.Array]:
    """As many steps as a compression takes tokens, if all that count are spent waiting.

    While it waits, a policy decides nothing: it only reads. What the steps lead to is the same as
    after as many `rollout_step`s, and costs one compression instead of a decision each. Windows
    must be full.

    Returns:
        The state after these steps, and whether it may be used (bool []): every rollout waited,
        or had finished the episodes that are counted.
    """

    def step(state: RolloutState, _: None) -> tuple[RolloutState, tuple[Tokens, jax.Array]]:
        acting, seen = state.acting, state.seen
        is_first = jnp.zeros(seen.done.shape, bool)  # A window is full: it is not the first step.
        tokens = Tokens(previous_transition(acting, seen), is_first, seen.obs)
        timestep, then_seen = _step_envs(env, state, acting.action)
        # A compression is counted with the token that follows it.
        num_compressions = acting.window.num_compressions + 1
        nothing = jnp.zeros((len(seen.done), env.spec.num_actions))
        recalls = protocol.recalls(env, state.episode)
        tally = count(state.tally, timestep, num_compressions, nothing, recalls)
        acting = acting._replace(obs=seen.obs, step=acting.step + 1)
        after = RolloutState(acting, then_seen, timestep.state, state.tasks, tally)
        return after, (tokens, (timestep.distracted | is_over(state.tally)).all())

    after, (tokens, waited) = jax.lax.scan(step, state, length=policy.compress_length)
    tokens = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tokens)
    window = absorb(policy, params, state.acting.window, tokens)
    return after._replace(acting=after.acting._replace(window=window)), waited.all()


def make_rollout(
    policy: Policy,
    env: protocol.Env,
    *,
    smoothing: float,
    num_steps: int,
    shardings: RolloutState | None = None,
) -> Any:
    """Builds the jitted function (params, state) -> state that plays on for `num_steps` steps.

    Episodes have any length: what they came to is in the state's `tally`. Calling the function
    again with the state it returned goes on with the same histories, and memory does not grow
    with the number of steps. The state is donated; its shardings stay the same.
    """

    def step(params: Params, state: RolloutState) -> RolloutState:
        return rollout_step(policy, params, env, smoothing, state)[0]

    def play_each(params: Params, state: RolloutState) -> RolloutState:
        return jax.lax.fori_loop(0, num_steps, lambda _, state: step(params, state), state)

    def play_or_wait(params: Params, state: RolloutState) -> RolloutState:
        stop = state.acting.step + num_steps

        def try_to_wait(state: RolloutState) -> RolloutState:
            waited, is_valid = sit_out(policy, params, env, state)
            return jax.lax.cond(is_valid, lambda: waited, lambda: step(params, state))

        def go_on(state: RolloutState) -> RolloutState:
            is_full = state.acting.window.length == policy.window
            is_short = state.acting.step + policy.compress_length <= stop
            return jax.lax.cond(is_full & is_short, try_to_wait, partial(step, params), state)

        return jax.lax.while_loop(lambda state: state.acting.step < stop, go_on, state)

    def play(params: Params, state: RolloutState) -> RolloutState:
        play_all = play_or_wait if hasattr(env, "distractor") else play_each
        state = play_all(params, state)
        return state._replace(tally=with_current(state.tally))

    return jax.jit(_apart(play, shardings), donate_argnums=1, out_shardings=shardings)


def _apart(play: _Play, shardings: RolloutState | None) -> _Play:
    """The same, in which no device waits for another: each has rollouts of its own."""
    if shardings is None:
        return play
    specs = jax.tree.map(lambda x: x.spec, shardings)
    # What all devices have is the same after as many steps, and is not checked: whether a device
    # sits out a wait is its own affair.
    return jax.shard_map(
        play,
        mesh=jax.tree.leaves(shardings)[0].mesh,
        in_specs=(PartitionSpec(), specs),
        out_specs=specs,
        check_vma=False,
    )
