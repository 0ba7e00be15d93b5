"""What a memory believes of a room, read out linearly: where the goal is, and where it was.

A ridge regression leads from the latents to facts that are 0 or 1: whether a reward was seen,
whether each cell was visited, and the goal's row and column, each as one of so many. Rows and
columns are seen in training where a held-out cell is not.
"""

from typing import Any, NamedTuple

import numpy as np

from compad_jax.envs.protocol import Discrete, Env, MappedEnv
from compad_jax.evaluation.lives import Lives

_RIDGE = 0.1
_FEWEST = 10  # Examples without which nothing is fitted.


class Room(NamedTuple):
    """A rectangle of cells, numbered in row-major order."""

    rows: int
    columns: int
    has_goal: bool  # One cell pays, another one in each task.


class Facts(NamedTuple):
    """What the tokens tell that were compressed into versions 1..V of B memories."""

    found: np.ndarray  # bool [V, B], a reward.
    visited: np.ndarray  # bool [V, B, cells]
    goal: np.ndarray  # int [B], the cell that paid first; -1: none did.


class Readout(NamedTuple):
    """Weights and constants of both regressions, see `fit_ridge`."""

    facts: tuple[np.ndarray, np.ndarray]  # To found and each visited cell.
    goal: tuple[np.ndarray, np.ndarray] | None  # To rows and columns; None: there was no example.


class Belief(NamedTuple):
    """What memories [...] believe, as shares."""

    found: np.ndarray  # float [...], that a reward was seen.
    visited: np.ndarray  # float [..., cells]
    goal: np.ndarray | None  # float [..., cells], sums to 1.


def room_of(env: Env) -> Room | None:
    """The room whose cells an environment shows, if it is one."""
    space = env.spec.obs_space
    if not isinstance(env, MappedEnv) or not isinstance(space, Discrete) or env.spec.obs_size != 2:
        return None
    rows, columns = space.sizes
    if len(env.next_places()) != rows * columns:
        return None
    is_same = getattr(env, "moves_are_permuted", False)  # Then tasks share their goal.
    return Room(rows, columns, has_goal=env.num_stages in (None, 1) and not is_same)


def cells_of(room: Room, obs: Any) -> np.ndarray:
    """Observations int [..., 2] -> numbers of cells, int [...]."""
    return obs[..., 0] * room.columns + obs[..., 1]


def facts_of(lives: Lives, room: Room, compress_length: int) -> Facts:
    """What there is to know; a token tells of the current cell and of the step before it."""
    steps, num_versions = lives.transition, len(lives.latents) - 1
    here = np.eye(room.rows * room.columns, dtype=bool)[cells_of(room, steps.obs)]
    seen = np.maximum.accumulate(here, axis=0)
    is_paid = steps.reward > 0
    paid = np.maximum.accumulate(is_paid, axis=0)
    ends = compress_length * np.arange(1, num_versions + 1)
    first = is_paid.argmax(0), np.arange(is_paid.shape[1])
    goal = np.where(is_paid.any(0), cells_of(room, steps.next_obs)[first], -1)
    return Facts(found=paid[ends - 2], visited=seen[ends - 1], goal=goal)


def fit_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Least squares with a penalty, times the number of rows, on weights of standardised inputs.

    (float [rows, features], float [rows, outputs]) -> weights [features, outputs] and constants
    [outputs]: a prediction is x @ w + b.
    """
    mean, scale = x.mean(0), x.std(0) + 1e-6
    z, center = (x - mean) / scale, y.mean(0)
    gram = z.T @ z + penalty * len(z) * np.eye(z.shape[1]) / z.shape[1]
    weights = np.linalg.solve(gram, z.T @ (y - center)) / scale[:, None]
    return weights, center - mean @ weights


def fit_readout(latents: np.ndarray, facts: Facts, room: Room) -> Readout:
    """Fits the regressions to latents [V, B, M, D] of the versions that the facts are about."""
    x = _flatten(latents)
    y = np.concatenate([facts.found[..., None], facts.visited], axis=-1, dtype=np.float64)
    is_told = facts.found & (facts.goal >= 0)
    goal = None
    if room.has_goal and is_told.sum() >= _FEWEST:
        cell = np.broadcast_to(facts.goal, is_told.shape)[is_told]
        row, column = np.divmod(cell, room.columns)
        one_of = np.concatenate([np.eye(room.rows)[row], np.eye(room.columns)[column]], axis=-1)
        goal = fit_ridge(x[is_told], one_of, _RIDGE)
    rows = x.shape[0] * x.shape[1]
    facts_map = fit_ridge(x.reshape(rows, -1), y.reshape(rows, -1), _RIDGE)
    return Readout(facts_map, goal)


def read_out(readout: Readout, latents: np.ndarray, room: Room) -> Belief:
    """What memories believe: float [..., M, D] -> [...].

    The goal is where row and column say, as far as a reward was seen, and otherwise in any of
    the cells that were not visited.
    """
    x = _flatten(latents)
    facts = np.clip(x @ readout.facts[0] + readout.facts[1], 0, 1)
    found, visited = facts[..., 0], facts[..., 1:]
    if readout.goal is None:
        return Belief(found, visited, None)
    score = np.clip(x @ readout.goal[0] + readout.goal[1], 1e-6, None)
    row, column = (_shares(s) for s in np.split(score, [room.rows], axis=-1))
    known = (row[..., :, None] * column[..., None, :]).reshape(visited.shape)
    elsewhere = _shares(1 - visited + 1e-6)
    share = found[..., None]
    return Belief(found, visited, share * known + (1 - share) * elsewhere)


def judge(belief: Belief, facts: Facts, room: Room) -> dict[str, float | None]:
    """How good a read-out is on memories [V, B] that it was not fitted on.

    Returns:
        `visited`: how well visited cells are told from others, balanced; chance is 1/2.
        `found`: the share of the memories of which it is said rightly whether a reward was seen.
        `goal`, `near_goal`: of the memories that saw one, the share of which the likeliest cell
        is the goal, or beside it; None where there are none.
    """
    is_right, truth = (belief.visited > 0.5) == facts.visited, facts.visited
    result: dict[str, float | None] = {
        "visited": float(np.mean([is_right[x].mean() for x in (truth, ~truth) if x.any()])),
        "found": float(((belief.found > 0.5) == facts.found).mean()),
        "goal": None,
        "near_goal": None,
    }
    if belief.goal is not None and facts.found.any():
        said = np.divmod(belief.goal.argmax(-1), room.columns)
        true = np.divmod(facts.goal, room.columns)
        distance = (abs(said[0] - true[0]) + abs(said[1] - true[1]))[facts.found]
        result["goal"], result["near_goal"] = map(float, ((distance <= d).mean() for d in (0, 1)))
    return result


def _flatten(latents: np.ndarray) -> np.ndarray:
    """[..., M, D] -> float64 [..., M * D]."""
    return latents.reshape(*latents.shape[:-2], -1).astype(np.float64)


def _shares(x: np.ndarray) -> np.ndarray:
    """Positive numbers, scaled to sum to 1 over the last axis."""
    return x / x.sum(-1, keepdims=True)
