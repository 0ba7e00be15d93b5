"""What a memory holds: linear read-outs of goal and visited cells, and when its slots change.

    python -m experiments.readouts dark_room_wait --results results/readouts

Lives with waits are cut at their compressions. One linear read-out for all of them
(`compad_jax.evaluation.readout`) is fitted on training tasks and judged on held-out ones, by the
number of compressions. The figure shows one held-out life: events above, slots' changes below.
"""

import json
import os
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from compad_jax.backend import process
from compad_jax.config.command_line import one_line_errors
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.split import choose_tasks, split_tasks
from compad_jax.evaluation.lives import Lives, record_lives
from compad_jax.evaluation.readout import (
    Facts,
    Room,
    facts_of,
    fit_readout,
    judge,
    read_out,
    room_of,
)
from compad_jax.reports.figures import COLORS, GREY, draw_in_style, save_figure
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import percent
from experiments.single_agents import (
    agent_parser,
    load_with_wait,
    origin_of,
    require_new,
    write_texts,
)

_NUM_SEEDS = 8
_WAIT = 300
_NUM_COMPRESSIONS = 60
_SHOWN = (1, 2, 3, 5, 10, 20, 40, 60)  # Compressions, in the table.


def judge_by_age(lives: Lives, is_train: np.ndarray, room: Room, length: int) -> dict[int, Any]:
    """How good a read-out is on held-out tasks, by the number of compressions.

    Args:
        lives: with `_NUM_COMPRESSIONS` or more.
        is_train: bool [B], which of them the read-out is fitted on.
        room: where they lived.
        length: tokens of a compression.

    Returns:
        See `readout.judge`, and `lives`: the held-out ones that had seen a reward.
    """
    facts = facts_of(lives, room, length)
    fitting, judged = (_part(facts, x) for x in (is_train, ~is_train))
    fitted = fit_readout(lives.latents[1:, is_train], fitting, room)
    results = {}
    for number in _SHOWN:
        now = slice(number - 1, number)
        then = judged._replace(found=judged.found[now], visited=judged.visited[now])
        belief = read_out(fitted, lives.latents[1:, ~is_train][now], room)
        results[number] = judge(belief, then, room) | {"lives": int(then.found.sum())}
    return results


def _part(facts: Facts, of: np.ndarray) -> Facts:
    return Facts(facts.found[:, of], facts.visited[:, of], facts.goal[of])


def by_segment(values: Any, length: int) -> np.ndarray:
    """Sums over the tokens of each compression: [T, B] -> [V, B], V at most `_NUM_COMPRESSIONS`."""
    segments = values[: len(values) // length * length].reshape(-1, length, values.shape[1])
    return segments.sum(1)[:_NUM_COMPRESSIONS]


def _draw(lives: Lives, number: int, goal: tuple[int, int], length: int) -> Figure:
    """One life: when it waited and was paid, and which slots changed."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    row, column = goal
    figure.suptitle(
        f"One life in an unseen room, goal in row {row}, column {column}: what the memory keeps",
        x=0.01,
        ha="left",
        size=10.5,
        weight="bold",
    )
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    steps = np.arange(1, _NUM_COMPRESSIONS + 1)
    for step in steps[2 * by_segment(lives.waits, length)[:, number] > length]:
        top.axvspan(step - 0.5, step + 0.5, color=GREY, alpha=0.25, lw=0)
    paid = steps[by_segment(lives.transition.reward, length)[:, number] > 0]
    top.plot(paid, np.full(len(paid), 0.5), "v", color=COLORS[1])
    top.set_yticks([])
    top.set_title("Triangles: the goal was reached; grey: waiting", loc="left", size=9)
    image = bottom.imshow(
        lives.changes[:_NUM_COMPRESSIONS, number].T,
        aspect="auto",
        cmap="viridis",
        vmin=0,
        vmax=1,
        extent=(0.5, steps[-1] + 0.5, 0, 1),
    )
    bottom.set_yticks([])
    bottom.set_ylabel("Slots", color=GREY)
    bottom.set_xlabel("Compressions", color=GREY)
    figure.colorbar(image, ax=bottom, label="Change of a slot")
    return figure


def examine(checkpoint: str) -> tuple[dict[str, Any], Figure]:
    """The read-outs of an agent, and the picture of one life.

    Raises:
        ConfigError: it has no memory to read, or lives in another kind of environment.
    """
    policy, step, params, config, env = load_with_wait(checkpoint, _WAIT)
    indices = choose_tasks(env.num_tasks, config.env.num_tasks)
    held_out = np.isin(indices, indices[split_tasks(len(indices), config.env).held_out])
    tasks = np.repeat(np.asarray(make_tasks(env, indices)), _NUM_SEEDS, axis=0)
    is_train = np.repeat(~held_out, _NUM_SEEDS)
    room, length = room_of(env), policy.compress_length
    assert room is not None  # It has one goal.
    lives = record_lives(
        policy,
        params,
        env,
        tasks,
        greedy=np.zeros(len(tasks), bool),
        num_steps=(_NUM_COMPRESSIONS + 1) * length,
        smoothing=config.optimizer.label_smoothing,
    )
    is_waiting = 2 * by_segment(lives.waits, length) > length
    results = origin_of(checkpoint, step, config) | {
        "wait": _WAIT,
        "lives": [int(is_train.sum()), int((~is_train).sum())],
        "judged": judge_by_age(lives, is_train, room, length),
        "untouched": float((lives.changes[:_NUM_COMPRESSIONS][is_waiting] == 0).mean()),
    }
    with draw_in_style():
        first = int(np.flatnonzero(~is_train)[0])
        figure = _draw(lives, first, tuple(tasks[first, 0]), length)
    return results, figure


def _table(results: dict[str, Any]) -> str:
    rows = []
    for number, quality in results["judged"].items():
        shares = {
            "a reward was seen": quality["found"],
            "goal read exactly": quality["goal"],
            "within a cell": quality["near_goal"],
            "visited cells told apart": quality["visited"],
        }
        cells = {name: "-" if x is None else f"{percent(x)}%" for name, x in shares.items()}
        lives = {"held-out lives that saw one": str(quality["lives"])}
        rows.append({"compressions": str(number)} | cells | lives)
    fitted, judged = results["lives"]
    facts = (
        f"Fitted on {fitted} lives in training tasks and judged on {judged} in held-out ones, "
        f"acting by sampling with waits of {results['wait']} steps. Of the slots, "
        f"{percent(results['untouched'])}% do not change at all with a compression of waiting; "
        f"{results['checkpoint']}; commit {results['commit']}, {results['hardware']}."
    )
    return f"{markdown_table(rows)}\n\n{facts}"


def main() -> None:
    """Parses the command line, lets the agent live, writes table, figure and numbers."""
    arguments = agent_parser(__doc__).parse_args()
    with one_line_errors():
        process.configure(1)
        require_new(arguments.results)
        results, figure = examine(arguments.checkpoint)
        table = _table(results)
        print(table)
        if arguments.results:
            texts = {"table.md": table, "readouts.json": json.dumps(results)}
            write_texts(arguments.results, texts)
            save_figure(figure, os.path.join(arguments.results, "one_life.png"))


if __name__ == "__main__":
    main()
