"""What a memory does: empty, swap or freeze it at the end of a wait, and see where the agent goes.

    python -m experiments.causes dark_room_wait --results results/causes

Every rollout finds its goal and then waits. Just before the first of these waits ends, memories
are changed, and the next episode is watched. Dark rooms with one goal only.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.backend import process
from compad_jax.config.checks import require
from compad_jax.config.command_line import one_line_errors
from compad_jax.envs.protocol import Env
from compad_jax.envs.split import tasks_of
from compad_jax.envs.tabular import all_fewest_steps
from compad_jax.envs.waiting import Waiting
from compad_jax.evaluation.episodes import SELECTIONS, plan_rollouts
from compad_jax.evaluation.rollout import RolloutState, init_rollout, make_rollout, rollout_step
from compad_jax.models import Params, Policy
from compad_jax.models.policy import apply_method
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import ACTING
from experiments.single_agents import (
    agent_parser,
    load_with_wait,
    origin_of,
    require_new,
    show_share,
    write_texts,
)

_SLACK = 2  # Steps beyond the shortest path that still count as walking straight there.
_NUM_SEEDS = 8
_NUM_BOOTSTRAP = 2000


class Visits(NamedTuple):
    """The episode after the wait, selections in the order of `SELECTIONS`."""

    own: np.ndarray  # int [2, G, R], steps until the own goal is reached; 0: never.
    other: np.ndarray  # int [2, G, R], until the goal of the next task is; 0: never.


def swap(memory: Any, shape: tuple[int, int, int]) -> Any:
    """Gives every rollout the memory of the same rollout in the next task.

    Args:
        memory: [B, ...] with B = 2 G R.
        shape: (2, G, R).
    """

    def roll(x: jax.Array) -> jax.Array:
        return jnp.roll(x.reshape(*shape, *x.shape[1:]), -1, axis=1).reshape(x.shape)

    return jax.tree.map(roll, memory)


def freeze(policy: Policy) -> Policy:
    """The same policy, whose memory stays as it is."""

    def factory(config: Any, dtype: Any) -> Any:
        rule = type(policy.memory_factory(config, dtype))
        return type(f"Frozen{rule.__name__}", (rule,), {"write": _keep})(config, dtype)

    return policy.clone(memory_factory=factory)


def _keep(
    self: Any, memory: Any, segment: jax.Array, mask: jax.Array, *, deterministic: bool = True
) -> Any:
    return memory


def watch(
    policy: Policy,
    params: Params,
    env: Waiting,
    tasks: Any,
    shape: tuple[int, int, int],
    smoothing: float,
) -> tuple[np.ndarray, dict[str, Visits]]:
    """Plays until the waits end, then every intervention from the same moment on.

    Args:
        policy: the policy.
        params: its parameters.
        env: with waits of a fixed length, longer than an episode's search.
        tasks: [G, ...].
        shape: (2, G, R) of all rollouts.
        smoothing: label smoothing of the training.

    Returns:
        Steps to the goal in the first episode, int [2, G, R] (0: never), and what each
        intervention leads to.
    """
    state = _start(policy, params, env, tasks, shape)
    search = env.env.spec.horizon
    play = make_rollout(policy, env, smoothing=smoothing, num_steps=env.waits.wait)
    state = play(params, state)
    first = np.asarray(state.tally.episodes.wait.steps_to_reward)[:, 0].reshape(shape)
    window = state.acting.window
    none = apply_method(policy, params, "initial_memory", len(state.seen.done))
    variants: dict[str, tuple[Policy, Any]] = {
        "left alone": (policy, window.memory),
        "emptied": (policy, none),
        "swapped": (policy, swap(window.memory, shape)),
        "frozen": (freeze(policy), window.memory),
    }
    others = np.asarray(swap(state.tasks, shape))
    found = {}
    for name, (acting_policy, memory) in variants.items():
        changed = state.acting._replace(window=window._replace(memory=memory))
        record = _record(acting_policy, params, env, smoothing, 2 * search)
        cell, reward, counted = jax.device_get(record(state._replace(acting=changed)))
        at_other = (cell == others[:, 0]).all(-1)
        found[name] = Visits(
            *(_first_step(counted, x).reshape(shape) for x in (reward > 0, at_other))
        )
    return first, found


def _start(
    policy: Policy, params: Params, env: Env, tasks: Any, shape: tuple[int, int, int]
) -> RolloutState:
    rollouts = plan_rollouts(tasks, shape, seed=0)
    return init_rollout(policy, params, env, *rollouts, num_episodes=2)


def _record(
    policy: Policy, params: Params, env: Waiting, smoothing: float, num_steps: int
) -> Callable[[RolloutState], tuple[jax.Array, jax.Array, jax.Array]]:
    """Plays on: cells [T, B, 2], rewards [T, B], and whether a step is of the second episode."""

    def step(state: RolloutState, _: None) -> tuple[RolloutState, Any]:
        counted = (state.tally.episode == 1) & ~env.distractor(state.episode.env_state)
        after, record = rollout_step(policy, params, env, smoothing, state)
        return after, (record.transition.next_obs, record.transition.reward, counted)

    return jax.jit(lambda state: jax.lax.scan(step, state, length=num_steps)[1])


def _first_step(counted: np.ndarray, event: np.ndarray) -> np.ndarray:
    """In which of the steps that count an event comes first, int [B] from 1; 0: in none.

    Args:
        counted: bool [T, B].
        event: bool [T, B].
    """
    number = np.cumsum(counted, axis=0)
    happens = counted & event
    at = happens.argmax(0)
    return np.where(happens.any(0), number[at, np.arange(len(at))], 0)


def summarise(
    first: np.ndarray, found: dict[str, Visits], fewest: np.ndarray
) -> dict[str, dict[str, Any]]:
    """Shares of the rollouts that go straight to their own goal, and to the other one's.

    Args:
        first: int [2, G, R], see `watch`.
        found: see `watch`.
        fewest: int [G], steps of the shortest path to each goal.

    Returns:
        By selection and intervention; the first episode is called "first episode".
    """

    def goes(steps: np.ndarray, limit: np.ndarray) -> np.ndarray:
        return (steps > 0) & (steps <= limit[:, None] + _SLACK)

    other_fewest = np.roll(fewest, -1)
    # Who had not found its goal had nothing to remember; nor had who takes over its memory.
    knows = (first > 0) & (np.roll(first, -1, axis=1) > 0)
    require(bool(knows.any((1, 2)).all()), "no rollout found its goal in the first episode")
    summary: dict[str, dict[str, Any]] = {}
    for index, selection in enumerate(SELECTIONS):
        rows = {"first episode": {"own": _share(goes(first, fewest)[index], knows[index])}}
        for name, visits in found.items():
            rows[name] = {
                "own": _share(goes(visits.own, fewest)[index], knows[index]),
                "other": _share(goes(visits.other, other_fewest)[index], knows[index]),
                "found": _share(visits.own[index] > 0, knows[index]),
            }
        summary[selection] = rows
    return summary


def _share(values: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Mean of bool [G, R] over what counts, with a 95% interval over tasks, then rollouts."""
    tasks = [x[known] for x, known in zip(values, counts, strict=True) if known.any()]
    rng = np.random.default_rng(0)

    def draw_again() -> float:
        drawn = [tasks[number] for number in rng.integers(len(tasks), size=len(tasks))]
        return float(np.concatenate([rng.choice(x, len(x)) for x in drawn]).mean())

    means = [draw_again() for _ in range(_NUM_BOOTSTRAP)]
    return {
        "share": float(values[counts].mean()),
        "ci95": [float(x) for x in np.quantile(means, [0.025, 0.975])],
        "rollouts": int(counts.sum()),
    }


def _table(results: dict[str, Any]) -> str:
    rows = []
    for selection, interventions in results["summary"].items():
        for name, shares in interventions.items():
            row = {"acting": ACTING[selection], "memory": name}
            for key, label in (("own", "to its own goal"), ("other", "to the other goal")):
                row[label] = show_share(shares[key]) if key in shares else "-"
            rows.append(row)
    split = results["split"].replace("_", "-")
    facts = (
        "Share of the rollouts that walk straight there after a wait of "
        f"{results['wait']:,} steps, and 95% intervals over tasks and seeds; {split} tasks; "
        f"{results['checkpoint']}; commit {results['commit']}, {results['hardware']}."
    )
    return f"{markdown_table(rows)}\n\n{facts}"


def examine(checkpoint: str, wait: int, split: str) -> dict[str, Any]:
    """Everything about one agent.

    Raises:
        ConfigError: it has no memory, or was trained in another kind of environment.
    """
    policy, step, params, config, env = load_with_wait(checkpoint, wait)
    require(
        wait > 2 * config.env.horizon,
        f"--wait {wait}: at least two episodes, more than {2 * config.env.horizon}",
    )
    _, tasks = tasks_of(env, config.env, split)
    num_tasks = len(jax.tree.leaves(tasks)[0])
    shape = (len(SELECTIONS), num_tasks, _NUM_SEEDS)
    first, found = watch(policy, params, env, tasks, shape, config.optimizer.label_smoothing)
    return origin_of(checkpoint, step, config) | {
        "split": split,
        "wait": wait,
        "summary": summarise(first, found, np.asarray(all_fewest_steps(env, tasks))),
    }


def main() -> None:
    """Parses the command line, plays, prints the table."""
    parser = agent_parser(__doc__)
    parser.add_argument("--wait", type=int, default=1_000, help="steps")
    parser.add_argument("--split", choices=("held_out", "validation"), default="held_out")
    arguments = parser.parse_args()
    with one_line_errors():
        process.configure(1)
        require_new(arguments.results)
        results = examine(arguments.checkpoint, arguments.wait, arguments.split)
        table = _table(results)
        print(table)
        if arguments.results:
            texts = {"table.md": table, "causes.json": json.dumps(results)}
            write_texts(arguments.results, texts)


if __name__ == "__main__":
    main()
