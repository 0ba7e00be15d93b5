"""Returns of a frozen policy that learns in context: tasks x seeds, greedy and sampled."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax import sharding
from compad_jax.config import Config
from compad_jax.envs.base import Env
from compad_jax.models import Params, Policy
from compad_jax.rollout import init_rollout, make_rollout
from compad_jax.runtime import quick_compile_options

SELECTIONS = ("greedy", "sample")


class Speed(NamedTuple):
    """What the rollouts cost, without compilation."""

    steps_per_second: float
    late_to_early: float  # Time of a step, last tenth of the dispatches over the first tenth.
    num_compressions: np.ndarray  # int [E], done by the end of each episode.


def make_episodes(
    config: Config, policy: Policy, env: Env, tasks: jax.Array, num_episodes: int
) -> Callable[[Params], tuple[np.ndarray, Speed]]:
    """Builds the function that plays all episodes, both ways to act in one batch.

    Args:
        config: `eval`'s seeds and chunks, and the label smoothing of the training.
        policy: the policy.
        env: the environment.
        tasks: int [G, ...].
        num_episodes: of each rollout, E.

    Returns:
        Function params -> (returns float [2, E, G, R] in the order of `SELECTIONS`, cost).
        It compiles at its first call.
    """
    shape = (len(SELECTIONS), len(tasks), config.eval.num_seeds)
    batch = int(np.prod(shape))
    chunk = min(config.eval.chunk_episodes, num_episodes)
    keys = jax.random.split(jax.random.key(config.eval.seed), batch)
    all_tasks = jnp.broadcast_to(tasks[None, :, None], (*shape, *tasks.shape[1:]))
    all_tasks = all_tasks.reshape(batch, *tasks.shape[1:])
    greedy = jnp.broadcast_to(jnp.array([True, False])[:, None, None], shape).ravel()
    start = jax.jit(
        lambda params: init_rollout(policy, params, env, all_tasks, keys, greedy),
        compiler_options=quick_compile_options(),
    )
    programs: list[jax.stages.Compiled] = []

    def play_all(params: Params) -> tuple[np.ndarray, Speed]:
        state = start(params)
        shardings = sharding.split_leading(state, batch, sharding.make_mesh())
        state = jax.device_put(state, shardings)
        if not programs:  # Apart from the clock below.
            play = make_rollout(
                policy,
                env,
                smoothing=config.optimizer.label_smoothing,
                num_episodes=chunk,
                shardings=shardings,
            )
            programs.append(play.lower(params, state).compile())
        parts, compressions, seconds = [], [], []
        for _ in range(-(-num_episodes // chunk)):
            begin = time.monotonic()
            state, returns, done = programs[0](params, state)
            parts.append(np.asarray(returns))
            compressions.append(np.asarray(done))
            seconds.append(time.monotonic() - begin)
        returns = np.concatenate(parts)
        num_steps = returns.size * env.spec.horizon
        speed = Speed(
            num_steps / sum(seconds),
            _late_to_early(seconds),
            np.concatenate(compressions)[:num_episodes],
        )
        by_selection = returns[:num_episodes].reshape(num_episodes, *shape)
        return np.moveaxis(by_selection, 0, 1), speed

    return play_all


def _late_to_early(seconds: list[float]) -> float:
    """Median of the last tenth over that of the first."""
    tenth = max(1, len(seconds) // 10)
    return float(np.median(seconds[-tenth:]) / np.median(seconds[:tenth]))
