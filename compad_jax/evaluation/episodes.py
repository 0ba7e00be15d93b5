"""Episodes of a frozen policy that learns in context: tasks x seeds, greedy and sampled."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from compad_jax.backend import sharding
from compad_jax.backend.process import quick_compile_options
from compad_jax.backend.progress_bar import progress_bar
from compad_jax.config import Config
from compad_jax.envs.protocol import Env, FinishableEnv
from compad_jax.evaluation.recall import Recall
from compad_jax.evaluation.rollout import RolloutState, init_rollout, make_rollout
from compad_jax.models import Params, Policy

SELECTIONS = ("greedy", "sample")
_MAX_STEPS = 10_000  # Of a dispatch: between two, Ctrl-C is heard.


class Episodes(NamedTuple):
    """What was played, selections in the order of `SELECTIONS`, and what it cost."""

    returns: np.ndarray  # float [2, E, G, R]
    lengths: np.ndarray  # int [2, E, G, R], steps of each episode.
    num_compressions: np.ndarray  # int [2, E, G, R], done by the end of each episode.
    recall: Recall | None  # The same shapes; None where the environment makes nobody wait.
    steps_per_second: float  # Without compilation.
    late_to_early: float  # Time of a step, last tenth of the dispatches over the first tenth.


def make_episodes(
    config: Config, policy: Policy, env: Env, tasks: Any, num_episodes: int
) -> Callable[[Params], Episodes]:
    """Builds the function that plays E episodes of each rollout, both ways to act in one batch.

    All rollouts, of tasks [G, ...], act in lockstep until each of them has finished its episodes,
    but for the wait of the last one; what a rollout does after its last episode is not counted. The
    function compiles at its first call.
    """
    shape = (len(SELECTIONS), num_tasks_of(tasks), config.eval.num_seeds)
    chunk = min(config.eval.chunk_episodes, num_episodes)
    num_steps = min(chunk * env.spec.horizon, _MAX_STEPS)
    rollouts = plan_rollouts(tasks, shape, config.eval.seed)
    programs: list[Any] = []

    def play_all(params: Params) -> Episodes:
        if not programs:  # Apart from the clock below.
            programs.extend(
                _load_programs(config, policy, env, num_steps, params, rollouts, num_episodes)
            )
        start, play = programs
        state = start(params, *rollouts)
        seconds = []
        with progress_bar("evaluating", num_episodes, "episode") as bar:
            while (finished := _num_counted(env, state).min()) < num_episodes:
                begin = time.monotonic()
                state = jax.block_until_ready(play(params, state))
                seconds.append(time.monotonic() - begin)
                bar.update(int(finished) - bar.n)

        def arrange(x: jax.Array) -> np.ndarray:
            """[B, E, ...] -> [2, E, G, R, ...]."""
            return np.moveaxis(sharding.fetch(x).reshape(*shape, *x.shape[1:]), 3, 1)

        found = state.tally.episodes
        return Episodes(
            returns=arrange(found.returns),
            lengths=arrange(found.lengths),
            num_compressions=arrange(found.num_compressions),
            recall=found.wait and Recall(*map(arrange, found.wait)),
            steps_per_second=len(seconds) * num_steps * int(np.prod(shape)) / sum(seconds),
            late_to_early=_late_to_early(seconds),
        )

    return play_all


def _num_counted(env: Env, state: RolloutState) -> np.ndarray:
    """Episodes of each rollout to which nothing can be added, int [B].

    A wait with nothing left to earn may be a million steps; the last one is not waited for.
    """
    is_settled = np.zeros(len(state.seen.done), bool)
    if hasattr(env, "distractor") and isinstance(env, FinishableEnv):
        is_settled = sharding.fetch(jax.vmap(env.is_finished)(state.episode.env_state))
    return sharding.fetch(state.tally.episode) + is_settled


def num_tasks_of(tasks: Any) -> int:
    """G of tasks [G, ...]."""
    return len(jax.tree.leaves(tasks)[0])


def plan_rollouts(
    tasks: Any, shape: tuple[int, int, int], seed: int
) -> tuple[Any, jax.Array, jax.Array]:
    """Task, PRNG key and whether greedy of all rollouts of tasks [G, ...], on every device.

    Each is [B, ...], by selection, task and seed: B is the product of `shape`, (2, G, R).
    """
    batch = int(np.prod(shape))
    places = np.broadcast_to(np.arange(shape[1])[:, None], shape).ravel()
    greedy = np.broadcast_to(np.array([True, False])[:, None, None], shape).ravel()
    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), batch)
    rollouts = jax.tree.map(lambda x: np.asarray(x)[places], tasks), keys, greedy
    whole = sharding.replicated(sharding.make_mesh())
    return jax.jit(lambda x: x, out_shardings=whole)(rollouts)


def _load_programs(
    config: Config,
    policy: Policy,
    env: Env,
    num_steps: int,
    params: Params,
    rollouts: tuple[Any, jax.Array, jax.Array],
    num_episodes: int,
) -> tuple[jax.stages.Compiled, jax.stages.Compiled]:
    """The program that starts the rollouts, and the one that plays on."""

    def init(params: Params, *rollouts: Any) -> RolloutState:
        return init_rollout(policy, params, env, *rollouts, num_episodes=num_episodes)

    state = jax.eval_shape(init, params, *rollouts)
    shardings = sharding.split_leading(state, len(rollouts[2]), sharding.make_mesh())
    options = quick_compile_options()
    start = jax.jit(init, out_shardings=shardings, compiler_options=options)
    play = make_rollout(
        policy,
        env,
        smoothing=config.optimizer.label_smoothing,
        num_steps=num_steps,
        shardings=shardings,
    )
    placed = jax.tree.map(lambda x, s: x.update(sharding=s), state, shardings)
    return start.lower(params, *rollouts).compile(), play.lower(params, placed).compile()


def _late_to_early(seconds: list[float]) -> float:
    """Median of the last tenth over that of the first."""
    tenth = max(1, len(seconds) // 10)
    return float(np.median(seconds[-tenth:]) / np.median(seconds[:tenth]))
