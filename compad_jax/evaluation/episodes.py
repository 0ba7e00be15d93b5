"""Returns of a frozen policy that learns in context: tasks x seeds, greedy and sampled."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from compad_jax.backend import sharding
from compad_jax.backend.process import quick_compile_options
from compad_jax.config import Config
from compad_jax.envs.protocol import Env
from compad_jax.evaluation.rollout import init_rollout, make_rollout
from compad_jax.models import Params, Policy

SELECTIONS = ("greedy", "sample")


class Speed(NamedTuple):
    """What the rollouts cost, without compilation."""

    steps_per_second: float
    late_to_early: float  # Time of a step, last tenth of the dispatches over the first tenth.
    num_compressions: np.ndarray  # int [E], done by the end of each episode.


def make_episodes(
    config: Config, policy: Policy, env: Env, tasks: np.ndarray, num_episodes: int
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
    chunk = min(config.eval.chunk_episodes, num_episodes)
    rollouts = _plan_rollouts(tasks, shape, config.eval.seed)
    programs: list[Any] = []

    def play_all(params: Params) -> tuple[np.ndarray, Speed]:
        if not programs:  # Apart from the clock below.
            programs.extend(_load_programs(config, policy, env, chunk, params, rollouts))
        start, shardings, play = programs
        state = jax.device_put(start(params, *rollouts), shardings)
        parts, compressions, seconds = [], [], []
        for _ in range(-(-num_episodes // chunk)):
            begin = time.monotonic()
            state, returns, done = play(params, state)
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


def _plan_rollouts(
    tasks: np.ndarray, shape: tuple[int, int, int], seed: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Task, PRNG key and whether greedy, each [B, ...], of all rollouts; on every device."""
    batch = int(np.prod(shape))
    all_tasks = np.broadcast_to(tasks[None, :, None], (*shape, *tasks.shape[1:]))
    greedy = np.broadcast_to(np.array([True, False])[:, None, None], shape).ravel()
    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), batch)
    rollouts = all_tasks.reshape(batch, *tasks.shape[1:]), keys, greedy
    return jax.device_put(rollouts, sharding.replicated(sharding.make_mesh()))


def _load_programs(
    config: Config,
    policy: Policy,
    env: Env,
    chunk: int,
    params: Params,
    rollouts: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.stages.Compiled, Any, jax.stages.Compiled]:
    """The program that starts the rollouts, shardings of its state, the one that plays on."""
    init = jax.jit(
        lambda params, *rollouts: init_rollout(policy, params, env, *rollouts),
        compiler_options=quick_compile_options(),
    )
    start = init.lower(params, *rollouts).compile()
    state = start(params, *rollouts)
    shardings = sharding.split_leading(state, len(rollouts[0]), sharding.make_mesh())
    play = make_rollout(
        policy,
        env,
        smoothing=config.optimizer.label_smoothing,
        num_episodes=chunk,
        shardings=shardings,
    )
    play = play.lower(params, jax.device_put(state, shardings)).compile()
    return start, shardings, play


def _late_to_early(seconds: list[float]) -> float:
    """Median of the last tenth over that of the first."""
    tenth = max(1, len(seconds) // 10)
    return float(np.median(seconds[-tenth:]) / np.median(seconds[:tenth]))
