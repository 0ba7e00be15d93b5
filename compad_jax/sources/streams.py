"""Independent learners that act in streams of their own: the loop that their sources share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from compad_jax.envs import protocol
from compad_jax.sources.actions import draw_action, taken_log_probs
from compad_jax.types import History, Transition

# (what the R learners know, where their episodes stand, inputs) -> log-probabilities [R, A]
PolicyFn = Callable[[Any, protocol.EpisodeState, Any], jax.Array]
# (what they know, where they stood, the time step, inputs) -> (what they know now, reward [R])
LearnFn = Callable[[Any, protocol.EpisodeState, protocol.TimeStep, Any], tuple[Any, jax.Array]]
# what they know -> where no action is better than another, and none is to be imitated: bool [R]
IdleFn = Callable[[Any], jax.Array]


def run_streams(
    env: protocol.Env,
    task: Any,
    key: jax.Array,
    policy_fn: PolicyFn,
    learn_fn: LearnFn,
    knowledge: Any,
    inputs: Any,
    *,
    num_streams: int,
    num_steps: int,
    is_idle: IdleFn | None = None,
) -> History:
    """Lets R learners act in one task, each learning from every step of its own.

    Args:
        env: the environment.
        task: one task.
        key: PRNG key, consumed.
        policy_fn: how they act.
        learn_fn: what they learn; the reward that it returns, as the learner sees it, is recorded.
        knowledge: what they know at first, any pytree.
        inputs: of each step, any pytree [T, ...].
        num_streams: R.
        num_steps: T.
        is_idle: where the policy is recorded as uniform, whatever it is; None: nowhere.

    Returns:
        Histories [R, T].
    """
    reset_key, noise_key, key = jax.random.split(key, 3)
    reset_keys = jax.random.split(reset_key, num_streams)
    episode, obs = jax.vmap(lambda k: protocol.reset(env, k, task))(reset_keys)
    step = jax.vmap(lambda k, s, a: protocol.step(env, k, s, a, task))

    def act(carry: Any, step_inputs: Any) -> tuple[Any, History]:
        (knowledge, episode, obs), (noise, key, inputs) = carry, step_inputs
        log_probs = policy_fn(knowledge, episode, inputs)
        action = draw_action(noise, log_probs)
        timestep = step(jax.random.split(key, num_streams), episode, action)
        says_nothing = timestep.distracted
        if is_idle is not None:
            says_nothing |= is_idle(knowledge)
        knowledge, reward = learn_fn(knowledge, episode, timestep, inputs)
        transition = Transition(obs, timestep.action, reward, timestep.next_obs, timestep.done)
        history = History(transition, taken_log_probs(log_probs, says_nothing))
        return (knowledge, timestep.state, timestep.obs), history

    noise = jax.random.uniform(noise_key, (num_steps, num_streams))
    keys = jax.random.split(key, num_steps)
    _, history = jax.lax.scan(act, (knowledge, episode, obs), (noise, keys, inputs))
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), history)
