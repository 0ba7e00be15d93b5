"""Histories of one's own: arrays that others have made, checked and written as a store."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from compad_jax.backend.progress_bar import progress_bar
from compad_jax.config import Config, EnvConfig, SourceConfig
from compad_jax.config.checks import ConfigError, require
from compad_jax.envs import make_env
from compad_jax.envs.protocol import Env, make_tasks
from compad_jax.envs.split import choose_tasks
from compad_jax.histories.own_arrays import (
    as_arrays,
    optional_names,
    stack,
    typed,
    types_of_task,
)
from compad_jax.histories.replay import Replay, contradiction, explain, explain_inferred_done
from compad_jax.histories.store import IMPORTED, store_settings
from compad_jax.histories.store_manifest import Origin
from compad_jax.histories.store_writer import make_layout, making, write_parts
from compad_jax.histories.validate import find_mistake
from compad_jax.types import History

# What stands in `next_obs` where an episode ends: the final observation, looked at for being the
# next episode's first one instead; taken as it is; the observation before; what the environment
# says, if no chance decides there.
FINAL_OBS = ("checked", "stored", "previous", "env")
Settings = dict[str, dict[str, Any]]


def write(
    directory: str,
    env: EnvConfig,
    histories: History | Sequence[Sequence[History]],
    *,
    final_obs: str = "checked",
) -> Settings:
    """Checks histories that were made elsewhere and writes them as a store to train on.

    Args:
        directory: of the store; must not exist.
        env: the environment of the histories. It need not be what made them, but the same task;
            where no chance decides there, every step is compared with it.
        histories: NumPy arrays [G, R, T] in the order of the tasks; or, for each task, the
            histories [T, ...] of its R learners, of any lengths. Without `log_probs` every action
            is a target, and no loss has a floor.
        final_obs: one of `FINAL_OBS`.

    Returns:
        Settings of the groups `source` and `data` by which a training finds the store.

    Raises:
        ConfigError: anything that cannot be in histories of this environment, with its place.
        OSError: the store cannot be written.
    """
    spec = make_env(env).spec
    given = histories if isinstance(histories, History) else stack(histories, spec)
    history = as_arrays(given)
    shape: Any = history.transition.action.shape
    require(len(shape) == 3, f"action: has shape {shape}; must be of tasks, streams and steps")
    parts = (jax.tree.map(lambda x, i=i: x[i : i + 1], history) for i in range(shape[0]))
    return write_checked(directory, env, parts, shape, optional_names(history), final_obs)


def write_checked(
    directory: str,
    env_config: EnvConfig,
    parts: Iterable[History],
    shape: tuple[int, int, int],
    names: set[str],
    final_obs: str,
    *,
    done_is_inferred: bool = False,
) -> Settings:
    """As `write`, of tasks that come one by one, [1, R, T], and need not fit in memory together.

    `shape` is G, R and T; `names` are those of the optional arrays that they have. Where `done` is
    inferred from next states and the horizon, messages say so.
    """
    require(not os.path.exists(directory), f"{directory}: is there already; name another")
    require(final_obs in FINAL_OBS, f"final_obs={final_obs!r}: allowed are {', '.join(FINAL_OBS)}")
    env = make_env(env_config)
    chosen = choose_tasks(env.num_tasks, env_config.num_tasks)
    require(
        shape[0] == len(chosen),
        f"histories of {shape[0]} tasks; env.num_tasks={env_config.num_tasks}: must be of "
        f"{len(chosen)}, task after task",
    )
    source = SourceConfig(
        name=IMPORTED,
        num_streams=shape[1],
        num_steps=shape[2],
        target="optimal" if "target" in names else "taken",
    )
    replay = Replay(env, make_tasks(env, chosen))
    layout = make_layout(types_of_task(env.spec, shape, names), shape[0], env.spec)
    origin = Origin(store_settings(Config(env=env_config, source=source)), IMPORTED)
    checked = _checked(parts, env, env_config.name, replay, shape, final_obs, done_is_inferred)
    with making(directory), progress_bar("checking and writing", shape[0], "task") as bar:
        write_parts(directory, _counted(checked, bar), layout, 0, origin)
    _report(directory, env_config.name, shape, names, replay)
    return {"source": origin.settings["source"], "data": {"dir": directory}}


def _checked(
    parts: Iterable[History],
    env: Env,
    env_name: str,
    replay: Replay,
    shape: tuple[int, int, int],
    final_obs: str,
    done_is_inferred: bool,
) -> Iterator[History]:
    """The same tasks, typed and with final observations; raises a ConfigError on any mistake."""
    ends = _Ends()
    for task, part in enumerate(parts):
        part = typed(part, env.spec, task)
        mistake = find_mistake(part, env.spec, (1, *shape[1:]), task)
        require(not mistake, str(mistake))
        played = replay.play(task, np.asarray(part.transition.action[0]))
        found = None if played is None else contradiction(part, played)
        if found:
            if found.name == "done" and done_is_inferred:
                text = explain_inferred_done(found, part, task, env_name, env.spec.horizon)
                raise ConfigError(text)
            fitting = replay.tasks_that_fit(part).tolist() if found.name == "reward" else []
            raise ConfigError(explain(found, task, env_name, env.spec.horizon, fitting))
        if final_obs == "checked":
            ends.look_at(part, task)
        elif final_obs == "previous":
            part = _with_final_obs(part, part.transition.obs)
        elif final_obs == "env":
            require(played is not None, f"final_obs='env': {env_name} cannot tell: chance decides")
            part = _with_final_obs(part, np.asarray(played and played.next_obs)[None])
        yield part
    ends.judge()


def _counted(parts: Iterable[History], bar: Any) -> Iterator[History]:
    """The same tasks; the bar goes on where the next one is asked for."""
    for part in parts:
        yield part
        bar.update(1)


def _with_final_obs(history: History, obs: Any) -> History:
    """The same history; where an episode ends, `next_obs` is from `obs` [1, R, T, O]."""
    steps = history.transition
    next_obs: Any = np.where(steps.done[..., None], obs, steps.next_obs)
    return history._replace(transition=steps._replace(next_obs=next_obs))


class _Ends:
    """Notices histories that hold, at ends of episodes, the observation after the reset.

    They do if it is so at every end, and if what happens there happens nowhere else: in a bandit
    an episode may well end where the next one begins.
    """

    def __init__(self) -> None:
        self._count, self._are_resets, self._jump = 0, True, ""

    def look_at(self, history: History, task: int) -> None:
        """Takes in the histories of one task, [1, R, T]."""
        obs, _, _, next_obs, done = (np.asarray(x[0]) for x in history.transition)
        length = done.shape[1] if history.length is None else np.asarray(history.length[0])[:, None]
        goes_on = np.arange(1, done.shape[1]) < length  # There is a next step.
        is_end, is_inner = done[:, :-1] & goes_on, ~done[:, :-1] & goes_on
        if not self._are_resets or not is_end.any():
            return
        self._count += is_end.sum()
        self._are_resets = (next_obs[:, :-1][is_end] == obs[:, 1:][is_end]).all()
        pairs = np.concatenate([obs, next_obs], -1)
        usual = np.unique(pairs[:, :-1][is_inner], axis=0)
        for stream, step in np.argwhere(is_end) if self._are_resets and not self._jump else ():
            if not (usual == pairs[stream, step]).all(-1).any():
                place = f"task {task}, stream {stream}, step {step}"
                self._jump = f"{place}: is {next_obs[stream, step]}"
                return

    def judge(self) -> None:
        """Raises a ConfigError if it is so in all of them."""
        require(
            not (self._count and self._are_resets and self._jump),
            f"next_obs: {self._jump}, the next episode's first observation, as at all "
            f"{self._count} ends of episodes: the reset state is stored as the terminal next "
            "state; must be the final observation: choose final_obs='env' (what the environment "
            "says), 'previous' (the observation before) or 'stored' (it is right as it is)",
        )


def _report(
    directory: str, env_name: str, shape: tuple[int, int, int], names: set[str], replay: Replay
) -> None:
    """Says what was written and what could not be known of it."""
    steps = f"{'at most ' if 'length' in names else ''}{shape[2]} steps"
    print(f"{directory}: {shape[0]} tasks x {shape[1]} histories of {steps}")
    if replay.is_possible:
        print(f"every step is what {env_name} does in the task, but for rewards of 0")
    else:
        print(
            f"not compared with {env_name}, where chance decides or observations are real numbers: "
            "whether the histories are in the order of its tasks is not known"
        )
    if "log_probs" not in names:
        print("no log-probabilities: no loss will have a floor, and every action is a target")
