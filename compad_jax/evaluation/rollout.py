"""In-context rollouts: a frozen policy acts in many environments at once, history kept."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from compad_jax.envs import protocol
from compad_jax.models import Params, Policy, init_window, observe
from compad_jax.models.tokens import first_tokens
from compad_jax.training.losses import undo_smoothing
from compad_jax.types import Tokens, Transition, Window


class RolloutState(NamedTuple):
    """Where B rollouts stand; nothing in it grows."""

    window: Window
    tokens: Tokens  # [B, 1], what the policy sees next.
    episode: protocol.EpisodeState  # [B]
    tasks: Any  # [B, ...]
    keys: jax.Array  # PRNG keys [B].
    greedy: jax.Array  # bool [B], take the likeliest action instead of sampling.
    step: jax.Array  # int []


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
) -> RolloutState:
    """Starts B rollouts with empty histories.

    Args:
        policy: the policy.
        params: its parameters.
        env: the environment.
        tasks: [B, ...].
        keys: PRNG keys [B]; a rollout depends on its own key only.
        greedy: bool [B].

    Returns:
        The state before the first step.
    """
    chex.assert_equal_shape_prefix([*jax.tree.leaves(tasks), keys, greedy], 1)
    batch = len(greedy)
    reset_keys = jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys)
    episode, obs = jax.vmap(lambda k, t: protocol.reset(env, k, t))(reset_keys, tasks)
    return RolloutState(
        window=init_window(policy, params, batch),
        tokens=first_tokens(obs[:, None]),
        episode=episode,
        tasks=tasks,
        keys=keys,
        greedy=greedy,
        step=jnp.ones((), jnp.int32),
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
    window, logits = observe(policy, params, state.window, state.tokens)
    keys = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, state.step)))(state.keys)
    sampled = jax.vmap(jax.random.categorical)(keys[:, 0], undo_smoothing(logits, smoothing))
    action = jnp.where(state.greedy, logits.argmax(-1), sampled)
    step = jax.vmap(lambda k, s, a, t: protocol.step(env, k, s, a, t))
    timestep = step(keys[:, 1], state.episode, action, state.tasks)
    transition = Transition(
        obs=state.tokens.obs[:, 0],
        action=timestep.action,
        reward=timestep.reward,
        next_obs=timestep.next_obs,
        done=timestep.done,
    )
    tokens = Tokens(
        previous=jax.tree.map(lambda x: x[:, None], transition),
        is_first=jnp.zeros((len(action), 1), bool),
        obs=timestep.obs[:, None],
    )
    after = state._replace(
        window=window, tokens=tokens, episode=timestep.state, step=state.step + 1
    )
    return after, StepRecord(transition, logits)


def make_rollout(
    policy: Policy,
    env: protocol.Env,
    *,
    smoothing: float,
    num_episodes: int,
    shardings: RolloutState | None = None,
) -> Any:
    """Builds the jitted function that plays `num_episodes` episodes.

    Calling it again with the state it returned goes on with the same histories, so a
    rollout of any length needs the memory of one call.

    Args:
        policy: the policy.
        env: the environment, with episodes of exactly `env.spec.horizon` steps.
        smoothing: see `rollout_step`.
        num_episodes: episodes a call, E.
        shardings: of the state; the same before and after a call.

    Returns:
        Function (params, state) -> (state, returns float [E, B], compressions done by the
        end of each episode int [E]); the state is donated.
    """

    def play_episode(
        params: Params, state: RolloutState
    ) -> tuple[RolloutState, tuple[jax.Array, jax.Array]]:
        def act(state: RolloutState, _: None) -> tuple[RolloutState, jax.Array]:
            state, record = rollout_step(policy, params, env, smoothing, state)
            return state, record.transition.reward

        state, rewards = jax.lax.scan(act, state, length=env.spec.horizon)
        return state, (rewards.sum(0), state.window.num_compressions)

    def play(params: Params, state: RolloutState) -> tuple[RolloutState, jax.Array, jax.Array]:
        state, (returns, num_compressions) = jax.lax.scan(
            lambda state, _: play_episode(params, state), state, length=num_episodes
        )
        return state, returns, num_compressions

    return jax.jit(play, donate_argnums=1, out_shardings=(shardings, None, None))
