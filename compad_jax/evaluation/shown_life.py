"""One life of an evaluation to be looked at, step by step: the contents of `life.json`."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from compad_jax.config import Config, EnvConfig
from compad_jax.envs import make_env
from compad_jax.envs.protocol import Env, make_tasks
from compad_jax.envs.split import choose_tasks, split_tasks
from compad_jax.evaluation.episodes import SELECTIONS
from compad_jax.evaluation.lives import Lives, record_lives
from compad_jax.evaluation.readout import (
    Readout,
    Room,
    cells_of,
    facts_of,
    fit_readout,
    judge,
    read_out,
    room_of,
)
from compad_jax.models import Params, Policy

_LONGEST_WAIT = 60  # Steps of a wait that is shown.
_FEWEST_STEPS, _MOST_STEPS = 240, 600  # Of a life.
_NUM_SHOWN = 8  # Tasks, at most.
_NUM_FITTED = 96  # Lives.


class Fitted(NamedTuple):
    """A read-out, and how good it is; see `readout.judge`."""

    room: Room
    readout: Readout
    quality: dict[str, Any]  # With the numbers of lives `fitted` and `judged`.


def with_short_waits(config: EnvConfig) -> EnvConfig:
    """The settings with waits that are short enough to be watched."""
    longest = config.wait if config.wait >= 0 else config.max_wait
    return dataclasses.replace(config, wait=_LONGEST_WAIT) if longest > _LONGEST_WAIT else config


def live_and_fit(
    config: Config, policy: Policy, params: Params, num_fitted: int = _NUM_FITTED
) -> tuple[Lives, Fitted | None]:
    """Lets a policy live in tasks that are evaluated, and reads out what its memory believes.

    In the same lockstep it lives in `num_fitted` other training tasks, half of them greedily and
    repeated as often as it takes: on these the read-out is fitted, on those it is judged. Long
    waits are shortened.

    Returns:
        Lives in the evaluated tasks, all greedy ones before all sampled ones, and the read-out;
        None where there is no room or no memory, nothing was compressed, or all training tasks are
        evaluated.
    """
    env = make_env(with_short_waits(config.env))
    numbers = choose_tasks(env.num_tasks, config.env.num_tasks)
    split = split_tasks(len(numbers), config.env)
    shown = np.unique(_spread(getattr(split, config.eval.split), _NUM_SHOWN))
    others = np.setdiff1d(split.train, shown)
    fitting = _spread(others, num_fitted) if len(others) else others
    tasks = make_tasks(env, numbers[np.concatenate([shown, shown, fitting])])
    num_shown, place = 2 * len(shown), np.arange(2 * len(shown) + len(fitting))
    lives = record_lives(
        policy,
        params,
        env,
        tasks,
        greedy=np.where(place < num_shown, place < len(shown), place % 2 == 0),
        num_steps=int(np.clip(1.5 * env.spec.horizon, _FEWEST_STEPS, _MOST_STEPS)),
        smoothing=config.optimizer.label_smoothing,
    )
    room, watched = room_of(env), lives.of(slice(num_shown))
    has_examples = len(fitting) > 0 and len(lives.latents) > 1
    if room is None or not config.model.remembers or not has_examples:
        return watched, None
    return watched, _fit(lives.of(slice(num_shown, None)), watched, room, policy.compress_length)


def _spread(rows: np.ndarray, number: int) -> np.ndarray:
    """So many of some rows, at equal distances; some twice or more often if there are fewer."""
    return rows[np.linspace(0, len(rows) - 1, number).round().astype(int)]


def _fit(fitting: Lives, judged: Lives, room: Room, compress_length: int) -> Fitted:
    """Fits the read-out on some lives and judges it on others."""
    readout = fit_readout(fitting.latents[1:], facts_of(fitting, room, compress_length), room)
    belief = read_out(readout, judged.latents[1:], room)
    quality = judge(belief, facts_of(judged, room, compress_length), room)
    sizes = {"fitted": fitting.waits.shape[1], "judged": judged.waits.shape[1]}
    return Fitted(room, readout, quality | sizes)


def lives_to_show(config: Config, policy: Policy, params: Params) -> list[dict[str, Any]]:
    """Plays, and chooses a life for each way to act: the one whose first reward came latest.

    Returns:
        The contents of `life.json` for each of `SELECTIONS`; see `tell`.
    """
    lives, fitted = live_and_fit(config, policy, params)
    paid = lives.transition.reward > 0
    first = np.where(paid.any(0), paid.argmax(0), -1).reshape(len(SELECTIONS), -1)
    short = with_short_waits(config.env)
    facts = {
        "num_tasks": first.shape[1],
        "split": config.eval.split,
        "num_actions": policy.spec.num_actions,
        "window": policy.window,
        "shortened": short != config.env,
    }
    env, shown = make_env(short), []
    for number, (selection, times) in enumerate(zip(SELECTIONS, first, strict=True)):
        place = number * len(times) + int(times.argmax())
        shown.append(facts | {"acting": selection} | tell(lives, place, env, fitted))
    return shown


def tell(lives: Lives, number: int, env: Env, fitted: Fitted | None) -> dict[str, Any]:
    """The life of a number, among several in `env`, as lists of numbers.

    Returns:
        Lists over T steps, over versions of the memory from 1, and facts:
        `from`, `to`, `goal`: cells, None without a room; `goal` also if it was never reached.
        `action`, `reward`, `done`, `waits`, `length`, `version`: see `Lives`.
        `gates`, [V][M] in percent: how far each latent was rewritten; `has_gates`: by its gate,
        otherwise by how much it changed.
        `beliefs`: `goal` (or None) and `visited`, [V][cells] in percent; None without a read-out.
        `room`: rows and columns, or None. `quality`: see `Fitted`.
    """
    steps = jax.tree.map(lambda x: x[:, number], lives.transition)
    room, paid = room_of(env), steps.reward > 0
    to = cells_of(room, steps.next_obs) if room else None
    has_goal = room is not None and room.has_goal and paid.any()
    gates = lives.changes if lives.gates is None else lives.gates
    belief = read_out(fitted.readout, lives.latents[1:, number], room) if fitted and room else None
    return {
        "room": room and [room.rows, room.columns],
        "from": room and cells_of(room, steps.obs).tolist(),
        "to": None if to is None else to.tolist(),
        "goal": int(to[paid.argmax()]) if has_goal and to is not None else None,
        "action": steps.action.tolist(),
        "reward": steps.reward.astype(float).round(3).tolist(),
        "done": steps.done.astype(int).tolist(),
        "waits": lives.waits[:, number].astype(int).tolist(),
        "length": lives.length.tolist(),
        "version": lives.version.tolist(),
        "gates": _percent(gates[:, number]),
        "has_gates": lives.gates is not None,
        "beliefs": belief
        and {
            "goal": None if belief.goal is None else _percent(belief.goal),
            "visited": _percent(belief.visited),
        },
        "quality": fitted and fitted.quality,
    }


def _percent(shares: np.ndarray) -> list[Any]:
    """Whole percent, none above 100."""
    return (100 * shares.clip(0, 1)).round().astype(int).tolist()
