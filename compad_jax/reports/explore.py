"""A page in which a visitor hides the goal; an agent finds it, waits, and walks back.

    python -m compad_jax.reports.explore dark_room_wait --out docs/explore.html

Lives in all tasks are played beforehand, so that the page needs no server.
"""

import argparse
import dataclasses
import html
import itertools
import string
from typing import Any

import jax
import numpy as np

from compad_jax.backend import process, provenance
from compad_jax.backend.files import write_text
from compad_jax.config.checks import require
from compad_jax.config.command_line import one_line_errors
from compad_jax.envs import make_env
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.protocol import Env, make_tasks
from compad_jax.envs.split import choose_tasks, split_tasks
from compad_jax.envs.waiting import Waiting
from compad_jax.evaluation.lives import Lives, record_lives
from compad_jax.evaluation.readout import cells_of, read_out
from compad_jax.evaluation.shown_life import Fitted, live_and_fit
from compad_jax.reports import templates
from compad_jax.reports.evaluation_page import describe_readout
from compad_jax.training.restore import restore_trained

_NUM_FITTED = 480  # Lives that the read-out is fitted on.
_NUM_WALKS = 3  # Of a life, with a wait between two.
_NUM_FRAMES = 121  # Of a wait, ever farther apart.
_FRAMES_A_MEMORY = 12  # In a wait: the memory is shown with each twelfth.
_DIGITS = string.digits + string.ascii_letters  # Of shares.
_DETOUR = 2  # Steps beyond the shortest way that still count as direct.


def play(checkpoint: str, wait: int) -> dict[str, Any]:
    """Plays an agent greedily in every task of its family, with waits of so many steps.

    Returns:
        What the page is made of: `stories`, one a task, see `tell_story`, and facts.

    Raises:
        ConfigError: there is no such agent, or it lives in another kind of environment.
    """
    require(wait > 0, f"--wait {wait}: must be positive")
    policy, _, params, config = restore_trained(checkpoint)
    kind = f"{checkpoint}: only agents with a memory, waits and one goal in a room can be explored"
    require(_has_one_goal(make_env(config.env)) and config.model.remembers, kind)
    env = make_env(dataclasses.replace(config.env, wait=wait))
    assert isinstance(env, Waiting)
    _, fitted = live_and_fit(config, policy, params, _NUM_FITTED)
    require(fitted is not None, f"{checkpoint}: it trained on no other tasks to fit a read-out on")
    assert fitted is not None
    indices = choose_tasks(env.num_tasks, config.env.num_tasks)
    tasks = np.asarray(make_tasks(env, indices))
    lives = record_lives(
        policy,
        params,
        env,
        tasks,
        greedy=np.ones(len(tasks), bool),
        num_steps=_NUM_WALKS * env.env.spec.horizon + (_NUM_WALKS - 1) * wait,
        smoothing=config.optimizer.label_smoothing,
    )
    goals = cells_of(fitted.room, tasks[:, 0])
    return {
        "agent": checkpoint,
        "room": [fitted.room.rows, fitted.room.columns],
        "wait": wait,
        "window": policy.window,
        "compress": policy.compress_length,
        "heldOut": goals[split_tasks(len(indices), config.env).held_out].tolist(),
        "stories": [tell_story(lives, i, int(goal), fitted) for i, goal in enumerate(goals)],
        "quality": fitted.quality,
    }


def _has_one_goal(env: Env) -> bool:
    return isinstance(env, Waiting) and isinstance(env.env, DarkGoals) and env.num_stages == 1


def tell_story(lives: Lives, number: int, goal: int, fitted: Fitted) -> dict[str, Any]:
    """The life of a number as the page shows it; `goal` is a cell.

    Returns:
        `goal`; `parts`, walks and waits by turns: `waits`, `paid`, `from` (a cell) and, a frame
        each, `to` (cells), `step` (of the part, from 1) and `memory` (its place, or -1); and
        `memories`: `goal` and `visited`, a digit a cell, and `gates`, a digit a latent: the widest
        that it was open since the memory before.
    """
    steps = jax.tree.map(lambda x: x[:, number], lives.transition)
    waits = lives.waits[:, number]
    begins = 1 + np.flatnonzero((waits[1:] != waits[:-1]) | steps.done[:-1])
    spans = np.split(np.arange(len(waits)), begins)
    walks = [i for i, times in enumerate(spans) if not waits[times[0]]]
    parts, versions = [], []
    for times in spans[: walks[:_NUM_WALKS][-1] + 1]:
        is_wait = bool(waits[times[0]])
        frames = _wait_frames(times) if is_wait else times
        every = _FRAMES_A_MEMORY if is_wait else 1
        versions.append(lives.version[frames][np.arange(len(frames)) // every * every])
        parts.append(
            {
                "waits": int(is_wait),
                "paid": int(steps.reward[times].any()),
                "from": int(cells_of(fitted.room, steps.obs[times[0]])),
                "to": cells_of(fitted.room, steps.next_obs[frames]).tolist(),
                "step": (frames - times[0] + 1).tolist(),
            }
        )
    shown = np.unique(np.concatenate([[0], *versions]))
    for part, own in zip(parts, versions, strict=True):
        part["memory"] = (np.searchsorted(shown, own) - 1).tolist()
    memories = _tell_memories(lives.of(slice(number, number + 1)), shown, fitted)
    return {"goal": goal, "parts": parts, "memories": memories}


def _wait_frames(times: np.ndarray) -> np.ndarray:
    """Some of the steps of a wait: all at first, then ever fewer."""
    return times[np.unique(np.geomspace(1, len(times), _NUM_FRAMES).round().astype(int)) - 1]


def _tell_memories(life: Lives, versions: np.ndarray, fitted: Fitted) -> list[dict[str, str]]:
    """Beliefs and gates of some versions, ascending and after version 0, which is left out."""
    belief = read_out(fitted.readout, life.latents[versions[1:], 0], fitted.room)
    gates = (life.changes if life.gates is None else life.gates)[:, 0]
    return [
        {
            "goal": _digits(belief.goal[i]) if belief.goal is not None else "",
            "visited": _digits(belief.visited[i]),
            "gates": _digits(gates[before:version].max(0)),
        }
        for i, (before, version) in enumerate(itertools.pairwise(versions))
    ]


def _digits(shares: np.ndarray) -> str:
    """Shares as digits of 62."""
    return "".join(_DIGITS[int(x)] for x in (61 * shares.clip(0, 1)).round())


def walks_straight(story: dict[str, Any], columns: int) -> list[bool]:
    """Of each walk of a story, whether it was a shortest way to the goal, or two steps longer."""
    goal, straight = np.divmod(story["goal"], columns), []
    for part in story["parts"]:
        if not part["waits"]:
            start = np.divmod(part["from"], columns)
            fewest = max(1, abs(start[0] - goal[0]) + abs(start[1] - goal[1]))
            straight.append(bool(part["paid"] and len(part["to"]) <= fewest + _DETOUR))
    return straight


def make_page(played: dict[str, Any]) -> str:
    """The page of what `play` returned."""
    columns, held_out = played["room"][1], set(played["heldOut"])
    back = {s["goal"]: all(walks_straight(s, columns)[1:]) for s in played["stories"]}
    unseen = [straight for goal, straight in back.items() if goal in held_out]
    facts = (
        f"Played beforehand by python -m compad_jax.reports.explore {played['agent']} --wait "
        f"{played['wait']}, greedily and once for each of "
        f"{len(back)} goals; it walked straight back (at most {_DETOUR} steps beyond a shortest "
        f"way) after every wait in {sum(back.values())} of them, and in {sum(unseen)} of the "
        f"{len(unseen)} that were never a goal in training. "
        f"{describe_readout(played['quality'])} "
        f"Commit {provenance.describe_commit()}, {provenance.describe_hardware()}."
    )
    return templates.fill(
        "explore.html",
        style=templates.read("page.css") + templates.read("explore.css"),
        wait=f"{played['wait']:,}",
        window=str(played["window"]),
        latents=str(len(played["stories"][0]["memories"][0]["gates"])),
        facts=html.escape(facts),
        data=templates.as_data(played),
        script=templates.scripts("room.js", "explore.js"),
    )


def main() -> None:
    """Parses the command line, plays and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", help="run directory or shipped agent")
    parser.add_argument("--wait", type=int, default=10_000, help="steps of every wait")
    parser.add_argument("--out", default="explore.html", help="page to be written")
    arguments = parser.parse_args()
    with one_line_errors():
        process.configure(1)
        write_text(arguments.out, make_page(play(arguments.checkpoint, arguments.wait)))


if __name__ == "__main__":
    main()
