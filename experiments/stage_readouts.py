"""What a memory holds of goals in sequence: how many were reached, and where each one is.

    python -m experiments.stage_readouts dark_key_to_door --results results/stage_readouts

Lives are cut at their compressions. Linear read-outs of the latents are fitted on training tasks
and judged on held-out ones, by the number of compressions: of the stage, which is the number of
goals reached in the episode so far, and of the cell of each goal that was found.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from compad_jax.backend import process
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import one_line_errors
from compad_jax.envs import make_env
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.split import tasks_of
from compad_jax.evaluation.lives import record_lives
from compad_jax.evaluation.readout import fit_ridge
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import percent
from compad_jax.training.restore import restore_trained
from compad_jax.types import Transition
from experiments.single_agents import (
    agent_parser,
    origin_of,
    require_new,
    write_texts,
)

_NUM_COMPRESSIONS = 20
_SHOWN = (1, 2, 3, 5, 10, 15, 20)  # Compressions, in the table.
_NUM_SEEDS = 2  # Lives of a task.
_RIDGE = 0.1


class Truth(NamedTuple):
    """What the tokens tell that were compressed into versions 1..V of B memories."""

    stage: np.ndarray  # int [V, B], goals reached in the episode of the last token.
    known: np.ndarray  # bool [V, B, K], whether each goal was ever reached.


def truth_of(transition: Transition, num_goals: int, length: int) -> Truth:
    """The truth about steps [T, B]: a token shows the step before it, so many a compression."""
    stage = np.zeros((len(transition.reward) + 1, transition.reward.shape[1]), int)
    known = np.zeros((*stage.shape, num_goals), bool)  # Before each step.
    for time, (reward, done) in enumerate(zip(transition.reward, transition.done, strict=True)):
        reached = (reward > 0)[:, None] & (stage[time][:, None] == np.arange(num_goals))
        known[time + 1] = known[time] | reached
        stage[time + 1] = np.where(done, 0, stage[time] + (reward > 0))
    last = np.arange(length - 1, len(transition.reward), length)
    return Truth(stage[last], known[last])


def read_choice(
    latents: np.ndarray, choice: np.ndarray, num_choices: int, told: np.ndarray, fitting: np.ndarray
) -> np.ndarray:
    """What a linear read-out of latents says that is one of several: int [V, B].

    Args:
        latents: float [V, B, features].
        choice: int [V, B], the truth.
        num_choices: of them.
        told: bool [V, B], which memories can know.
        fitting: bool [B], which lives the read-out is fitted on.
    """
    examples = told & fitting
    weights, constant = fit_ridge(latents[examples], np.eye(num_choices)[choice[examples]], _RIDGE)
    return (latents @ weights + constant).argmax(-1)


def judge(
    latents: np.ndarray, truth: Truth, goals: np.ndarray, fitting: np.ndarray, size: int
) -> dict[int, dict[str, float | None]]:
    """Shares of the held-out memories that are read rightly, by the number of compressions.

    Args:
        latents: float [V, B, features] of the versions that the truth is about.
        truth: about them.
        goals: int [B, K, 2], the cells.
        fitting: bool [B], which lives the read-outs are fitted on.
        size: rows and columns of the room.

    Returns:
        `stage`; `commonest`: the share of the commonest stage, which is what a guess reaches; and
        for each goal `goal_k`: of the memories of lives that found it, those of which row and
        column are read exactly; None where there are none.
    """
    everybody = np.ones_like(truth.stage, bool)
    num_goals = goals.shape[1]
    said = read_choice(latents, truth.stage, num_goals + 1, everybody, fitting)
    right = {"stage": (said == truth.stage, everybody)}
    for k in range(num_goals):
        told, exact = truth.known[..., k], everybody
        for axis in (0, 1):
            cell = np.broadcast_to(goals[:, k, axis], told.shape)
            exact = exact & (read_choice(latents, cell, size, told, fitting) == cell)
        right[f"goal_{k + 1}"] = exact, told
    results = {}
    for number in _SHOWN:
        now = number - 1
        shares = {
            name: float(is_right[now][counts[now] & ~fitting].mean())
            if (counts[now] & ~fitting).any()
            else None
            for name, (is_right, counts) in right.items()
        }
        stages = np.bincount(truth.stage[now, ~fitting])
        results[number] = shares | {"commonest": float(stages.max() / stages.sum())}
    return results


def examine(checkpoint: str) -> dict[str, Any]:
    """The read-outs of an agent.

    Raises:
        ConfigError: it has no memory to read, or lives in another kind of environment.
    """
    policy, step, params, config = restore_trained(checkpoint)
    env = make_env(config.env)
    if not (isinstance(env, DarkGoals) and config.model.remembers):
        raise ConfigError(f"{checkpoint}: only agents with a memory, goals in sequence, no waits")
    parts = [np.asarray(tasks_of(env, config.env, part)[1]) for part in ("train", "held_out")]
    tasks = np.repeat(np.concatenate(parts), _NUM_SEEDS, axis=0)
    fitting = np.arange(len(tasks)) < _NUM_SEEDS * len(parts[0])
    lives = record_lives(
        policy,
        params,
        env,
        tasks,
        greedy=np.zeros(len(tasks), bool),
        num_steps=(_NUM_COMPRESSIONS + 1) * policy.compress_length,
        smoothing=config.optimizer.label_smoothing,
    )
    truth = truth_of(lives.transition, env.num_goals, policy.compress_length)
    latents = lives.latents[1 : _NUM_COMPRESSIONS + 1].astype(np.float64)
    latents = latents.reshape(*latents.shape[:2], -1)
    truth = Truth(*(x[: len(latents)] for x in truth))
    return origin_of(checkpoint, step, config) | {
        "lives": [int(fitting.sum()), int((~fitting).sum())],
        "judged": judge(latents, truth, tasks, fitting, env.grid_size),
    }


def _table(results: dict[str, Any]) -> str:
    rows = []
    for number, shares in results["judged"].items():
        goals = [name for name in shares if name.startswith("goal_")]
        columns = {"stage": "stage read exactly", "commonest": "the commonest stage"}
        columns |= {name: f"goal {name.removeprefix('goal_')} read exactly" for name in goals}
        cells = {
            label: "-" if shares[name] is None else f"{percent(shares[name])}%"
            for name, label in columns.items()
        }
        rows.append({"compressions": str(number)} | cells)
    fitted, judged = results["lives"]
    facts = (
        f"Fitted on {fitted} lives in training tasks and judged on {judged} in held-out ones, "
        f"acting by sampling. Goals are judged in lives that had reached them. "
        f"{results['checkpoint']}; commit {results['commit']}, {results['hardware']}."
    )
    return f"{markdown_table(rows)}\n\n{facts}"


def main() -> None:
    """Parses the command line, lets the agent live, writes table and numbers."""
    arguments = agent_parser(__doc__).parse_args()
    with one_line_errors():
        process.configure(1)
        require_new(arguments.results)
        results = examine(arguments.checkpoint)
        table = _table(results)
        print(table)
        if arguments.results:
            write_texts(
                arguments.results, {"table.md": table, "stage_readouts.json": json.dumps(results)}
            )


if __name__ == "__main__":
    main()
