"""What a memory holds: linear read-outs of goal and visited cells, and when its slots change.

    python -m experiments.readouts dark_room_wait --results results/readouts

Lives with waits are cut at their compressions. A ridge regression from the memory to the goal's
row and column, and one to which cells were visited, are fitted on training tasks and judged on
held-out ones. The figure shows one held-out life: events above, changes of the slots below.
"""

import argparse
import json
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from compad_jax.backend import process, provenance
from compad_jax.config import to_dict
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import one_line_errors
from compad_jax.envs.protocol import Env, make_tasks
from compad_jax.envs.split import choose_tasks, split_tasks
from compad_jax.evaluation.rollout import init_rollout, rollout_step
from compad_jax.models import Params, Policy
from compad_jax.reports.figures import COLORS, GREY, draw_in_style, save_figure
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import percent
from experiments.agents_that_wait import load_with_wait, require_new, write_texts

_NUM_SEEDS = 8
_WAIT = 300
_NUM_COMPRESSIONS = 60
_SHOWN = (1, 2, 3, 5, 10, 20, 40, 60)  # Compressions, in the table.
_SEARCH = (1, 2, 3, 4)  # Likewise, for visited cells: mostly before the goal is found.
_RIDGE = 0.1


class Lives(NamedTuple):
    """B lives, cut at C compressions; what is said of one concerns the tokens compressed so far."""

    memory: np.ndarray  # float [C, B, latents, D], the memory after it.
    goal: np.ndarray  # int [B, 2]
    found: np.ndarray  # bool [C, B], whether the goal was reached.
    visited: np.ndarray  # bool [C, B, cells]
    waits: np.ndarray  # bool [C, B], share of its tokens in which the environment acted > 1/2.
    rewards: np.ndarray  # float [C, B], of its tokens.


def live(policy: Policy, params: Params, env: Env, tasks: Any, smoothing: float) -> Lives:
    """Lets a policy act, by sampling, until there were enough compressions.

    Args:
        policy: the policy; its memory is one array of latents.
        params: its parameters.
        env: a dark room with one goal and waits.
        tasks: [B, 1, 2], one a life.
        smoothing: label smoothing of the training.

    Returns:
        The lives.
    """
    batch, length = len(tasks), policy.compress_length
    keys = jax.random.split(jax.random.key(0), batch)
    greedy = jnp.zeros(batch, bool)
    state = init_rollout(policy, params, env, tasks, keys, greedy, num_episodes=1)

    def step(state: Any, _: None) -> tuple[Any, Any]:
        waits = env.distractor(state.episode.env_state)  # type: ignore[attr-defined]
        after, record = rollout_step(policy, params, env, smoothing, state)
        transition = record.transition
        return after, (transition.obs, transition.reward, waits)

    def until_compressed(state: Any, _: None) -> tuple[Any, Any]:
        state, records = jax.lax.scan(step, state, length=length)
        return state, (jax.tree.leaves(state.acting.window.memory)[0], records)

    # The first token after a full window has it compressed: one chunk more, and the first is cut.
    run = jax.jit(lambda s: jax.lax.scan(until_compressed, s, length=_NUM_COMPRESSIONS + 1)[1])
    memory, (obs, reward, waits) = jax.device_get(run(state))
    if memory.ndim != 4:
        raise ConfigError("only memories that are one array of latents can be read out")
    size = env.spec.obs_space.sizes[0]  # type: ignore[union-attr]
    here = np.eye(size**2, dtype=bool)[obs[..., 0] * size + obs[..., 1]]
    earned = np.cumsum(reward.reshape(-1, batch), axis=0)
    seen = np.logical_or.accumulate(here.any(1), axis=0)
    return Lives(
        memory=memory[1:],
        goal=np.asarray(tasks)[:, 0],
        # A token tells of the step before it: the last reward is told by the next segment.
        found=earned[length - 2 :: length][:-1] > 0,
        visited=seen[:-1],
        waits=waits[:-1].mean(1) > 0.5,
        rewards=reward[:-1].sum(1),
    )


def fit_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Least squares with a penalty on the weights of standardised inputs.

    Args:
        x: float [rows, features].
        y: float [rows, outputs].
        penalty: times the number of rows.

    Returns:
        Weights [features, outputs] and constants [outputs]: a prediction is x @ w + b.
    """
    mean, scale = x.mean(0), x.std(0) + 1e-6
    z, center = (x - mean) / scale, y.mean(0)
    gram = z.T @ z + penalty * len(z) * np.eye(z.shape[1]) / z.shape[1]
    weights = np.linalg.solve(gram, z.T @ (y - center)) / scale[:, None]
    return weights, center - mean @ weights


def read_goal(lives: Lives, is_train: np.ndarray, index: int) -> dict[str, float] | None:
    """How well the goal is read from the memory after compression `index`, on held-out tasks."""
    known = lives.found[index]
    fit, test = known & is_train, known & ~is_train
    if fit.sum() < 10 or not test.any():
        return None
    features = lives.memory[index].reshape(len(known), -1)
    weights, constant = fit_ridge(features[fit], lives.goal[fit].astype(float), _RIDGE)
    guess = np.rint(features[test] @ weights + constant)
    right = (guess == lives.goal[test]).all(-1)
    near = np.abs(guess - lives.goal[test]).sum(-1) <= 1
    return {"exact": float(right.mean()), "next": float(near.mean()), "lives": int(test.sum())}


def read_visited(lives: Lives, is_train: np.ndarray, index: int) -> dict[str, float]:
    """How well visited cells are told from others, balanced, on held-out tasks; .5 is chance."""
    features = lives.memory[index].reshape(len(is_train), -1)
    target = lives.visited[index]
    weights, constant = fit_ridge(features[is_train], target[is_train].astype(float), _RIDGE)
    score = features[~is_train] @ weights + constant
    # A cell is called visited where it is likelier than on average over the training lives.
    guess, truth = score > target[is_train].mean(0), target[~is_train]
    return {"balanced": float((guess[truth].mean() + (~guess)[~truth].mean()) / 2)}


def changes(lives: Lives) -> np.ndarray:
    """How much each slot changed with each compression, as a share of its size: [C - 1, B, M]."""
    difference = np.linalg.norm(np.diff(lives.memory, axis=0), axis=-1)
    return difference / np.linalg.norm(lives.memory[:-1], axis=-1).clip(1e-6)


def _draw(lives: Lives, number: int) -> Figure:
    """One life: when it waited and was paid, and which slots changed."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    row, column = lives.goal[number]
    figure.suptitle(
        f"One life in an unseen room, goal in row {row}, column {column}: what the memory keeps",
        x=0.01,
        ha="left",
        size=10.5,
        weight="bold",
    )
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    steps = np.arange(1, _NUM_COMPRESSIONS + 1)
    for step in steps[lives.waits[:, number]]:
        top.axvspan(step - 0.5, step + 0.5, color=GREY, alpha=0.25, lw=0)
    paid = steps[lives.rewards[:, number] > 0]
    top.plot(paid, np.full(len(paid), 0.5), "v", color=COLORS[1])
    top.set_yticks([])
    top.set_title("Triangles: the goal was reached; grey: waiting", loc="left", size=9)
    shown = np.concatenate([np.full((1, lives.memory.shape[2]), np.nan), changes(lives)[:, number]])
    image = bottom.imshow(
        shown.T, aspect="auto", cmap="viridis", vmin=0, vmax=1, extent=(0.5, steps[-1] + 0.5, 0, 1)
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
    lives = live(policy, params, env, tasks, config.optimizer.label_smoothing)
    results = {
        "checkpoint": checkpoint,
        "step": step,
        "wait": _WAIT,
        "lives": [int(is_train.sum()), int((~is_train).sum())],
        "goal": {n: read_goal(lives, is_train, n - 1) for n in _SHOWN},
        "visited": {n: read_visited(lives, is_train, n - 1) for n in _SEARCH},
        "untouched": float((changes(lives)[lives.waits[1:]] == 0).mean()),
        "config": to_dict(config),
        "hardware": provenance.describe_hardware(),
        "commit": provenance.describe_commit(),
    }
    with draw_in_style():
        figure = _draw(lives, int(np.flatnonzero(~is_train)[0]))
    return results, figure


def _table(results: dict[str, Any]) -> str:
    rows = []
    for number in _SHOWN:
        goal, visited = results["goal"][number], results["visited"].get(number)
        rows.append(
            {
                "compressions": str(number),
                "goal read exactly": "-" if goal is None else f"{100 * goal['exact']:.0f}%",
                "within a cell": "-" if goal is None else f"{100 * goal['next']:.0f}%",
                "held-out lives": "0" if goal is None else str(goal["lives"]),
                "visited cells told apart": "-"
                if visited is None
                else f"{100 * visited['balanced']:.0f}%",
            }
        )
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", help="run directory or shipped agent")
    parser.add_argument("--results", help="directory to write to")
    arguments = parser.parse_args()
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
