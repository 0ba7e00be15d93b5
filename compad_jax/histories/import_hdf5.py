"""Imports learning histories from an HDF5 or npz file into a store that one can train on.

python -m compad_jax.histories.import_hdf5 FILE --out DIR --env NAME [--config.env.horizon=20 ...]

Settings of the environment may also come from a config file, --config FILE, which may register an
environment of one's own. Overrides are written with "=". docs/own_histories.md has the layouts.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compad_jax.config import Config, EnvConfig
from compad_jax.config.checks import ConfigError, leaves_of, require
from compad_jax.config.command_line import load_config, one_line_errors
from compad_jax.envs import make_env
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.split import choose_tasks
from compad_jax.histories import layouts
from compad_jax.histories.own import FINAL_OBS, Settings, write_checked
from compad_jax.histories.replay import Replay
from compad_jax.types import History

_ORDERS = "groups, match, or as many numbers as there are groups, as 3,0,1,2"
_SHOWN = 5  # Numbers that a message lists.


def import_histories(
    path: str,
    directory: str,
    config: Config,
    *,
    tasks: str = "groups",
    final_obs: str = "checked",
    time_axis: int | None = None,
    encode_obs: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Settings:
    """Imports a file, task by task.

    Args:
        path: of the file, see `layouts.open_groups`.
        directory: of the store; must not exist.
        config: `env`; with `source.target` optimal, the file's expert actions are imitated.
        tasks: of which task each group is. `groups`: group n of task n; `match`: of the one task
            that pays its rewards; or their numbers, separated by commas.
        final_obs: one of `own.FINAL_OBS`.
        time_axis: 0 or 1, the axis of steps; None: as the file shows.
        encode_obs: makes of the file's observations [R, T, numbers] those of the environment.

    Returns:
        As `own.write`.

    Raises:
        ConfigError: the file is not readable, or cannot hold histories of this environment.
        OSError: as reading and writing do.
    """
    env = make_env(config.env)
    with layouts.open_groups(path) as groups:
        first = next(iter(groups.values()))
        axis = layouts.find_time_axis(first) if time_axis is None else time_axis
        sizes = [layouts.shape_of(name, group, axis) for name, group in groups.items()]
        num_streams, num_steps = sizes[0][0], max(size[1] for size in sizes)
        needed = {"length"} if len({size[1] for size in sizes}) > 1 else set()
        needed |= {"target"} if config.source.target == "optimal" else set()
        require(
            "target" not in needed or layouts.has(first, "target"),
            f"{path}: has no expert_actions, which source.target='optimal' imitates",
        )
        names = needed | {x for x in ("log_probs", "length") if layouts.has(first, x)}

        def read(group: layouts.Group) -> History:
            history = layouts.read_history(group, env.spec, num_steps, names, axis)
            return history if encode_obs is None else _encode(history, encode_obs)

        parts = map(read, _in_order(path, groups, tasks, config, read))
        shape = (len(groups), num_streams, num_steps)
        has_done = layouts.has(first, "done")
        settings = write_checked(
            directory, config.env, parts, shape, names, final_obs, done_is_inferred=not has_done
        )
        if not has_done:
            print("no dones in the file: episodes end at the horizon, or where next states say so")
        if not layouts.has(first, "next_obs") and final_obs != "env":
            print("no next states in the file: at ends of episodes the state before stands there")
    return settings


def _encode(history: History, encode_obs: Callable[[Any], Any]) -> History:
    """The same history with encoded observations."""
    steps = history.transition
    obs, next_obs = (encode_obs(x[0])[None] for x in (steps.obs, steps.next_obs))
    return history._replace(transition=steps._replace(obs=obs, next_obs=next_obs))


def _in_order(
    path: str,
    groups: dict[str, layouts.Group],
    tasks: str,
    config: Config,
    read: Callable[[layouts.Group], History],
) -> list[layouts.Group]:
    """The groups in the order of their tasks."""
    if tasks == "groups":
        order = list(map(int, groups))
    elif tasks == "match":
        order = _match(groups, config, read)
    else:
        try:
            order = [int(x) for x in tasks.split(",")]
        except ValueError as error:
            raise ConfigError(f"--tasks={tasks}: must be {_ORDERS}") from error
        require(len(order) == len(groups), f"--tasks={tasks}: must be {_ORDERS}: {len(groups)}")
    twice = sorted({x for x in order if order.count(x) > 1})
    require(not twice, f"{path}: several groups are of task {twice[:1]}; must be one a task")
    mistakes = _missing_and_surplus("group" if tasks == "groups" else "task", order, config.env)
    require(not mistakes, f"{path}: {mistakes}")
    by_task = dict(zip(order, groups.values(), strict=True))
    return [by_task[task] for task in sorted(order)]


def _missing_and_surplus(word: str, numbers: Sequence[int], config: EnvConfig) -> str:
    """What keeps numbers of groups, or of tasks, from being those of all tasks; "": nothing."""
    num_tasks = len(choose_tasks(make_env(config).num_tasks, config.num_tasks))
    missing = sorted(set(range(num_tasks)) - set(numbers))
    surplus = sorted(set(numbers) - set(range(num_tasks)))
    found = [
        f"{_shortened(word, some)} {kind}"
        for some, kind in (
            (missing, f"missing ({len(missing)} of {num_tasks})"),
            (surplus, f"surplus ({len(surplus)})"),
        )
        if some
    ]
    if not found:
        return ""
    return (
        f"{', '.join(found)}; must be one for each of the {num_tasks} tasks, 0 to {num_tasks - 1} "
        f"(env.num_tasks={config.num_tasks})"
    )


def _shortened(word: str, numbers: Sequence[int]) -> str:
    """As "group 3 is" or "groups 3, 4, 5... are"."""
    if len(numbers) == 1:
        return f"{word} {numbers[0]} is"
    listed = ", ".join(map(str, numbers[:_SHOWN]))
    return f"{word}s {listed}{'...' if len(numbers) > _SHOWN else ''} are"


def _match(
    groups: dict[str, layouts.Group], config: Config, read: Callable[[layouts.Group], History]
) -> list[int]:
    """The task of each group, by what it was paid."""
    env = make_env(config.env)
    replay = Replay(env, make_tasks(env, choose_tasks(env.num_tasks, config.env.num_tasks)))
    order = []
    for name, group in groups.items():
        history = read(group)
        is_fixed = replay.play(0, np.asarray(history.transition.action[0])) is not None
        require(is_fixed, f"--tasks=match: cannot tell tasks of {config.env.name}: chance decides")
        fitting = replay.tasks_that_fit(history)
        require(
            len(fitting) == 1,
            f"--tasks=match: group {name} fits {len(fitting)} tasks; must be one: give all numbers",
        )
        order.append(int(fitting[0]))
    return order


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(message)


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, Config]:
    """The flags and the settings of a command line; a ConfigError if they are wrong."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        "import_hdf5", description=__doc__, allow_abbrev=False, formatter_class=formatter
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--out", required=True, metavar="DIR", help="the store; must not exist")
    parser.add_argument("--env", help="name of the environment (--config.env.name)")
    parser.add_argument("--config", metavar="FILE", help="settings, as of train_main.py")
    parser.add_argument("--tasks", default="groups", help=f"{_ORDERS} (default: %(default)s)")
    parser.add_argument("--final_obs", default="checked", choices=FINAL_OBS)
    parser.add_argument("--time_axis", type=int, choices=(0, 1), help="default: as the file shows")
    flags, rest = parser.parse_known_args(list(arguments))
    stray = [x for x in rest if not x.startswith("--config.") or "=" not in x]
    require(not stray, f"stray argument {stray[:1]}: write settings as --config.group.name=value")
    require(bool(flags.env or flags.config), "--env NAME or --config FILE is missing")
    overrides = [x.removeprefix("--config.") for x in rest]
    overrides += [f"env.name={flags.env}"] if flags.env else []
    return flags, load_config(flags.config or "", overrides)


def main(arguments: Sequence[str]) -> None:
    """Imports, and says by which settings to train on it."""
    flags, config = parse(arguments)
    chosen = {name: getattr(flags, name) for name in ("tasks", "final_obs", "time_axis")}
    settings = import_histories(flags.file, flags.out, config, **chosen)
    values = [f"--config.{name}={value}" for name, value in sorted(leaves_of(settings))]
    print(f"train on them: {' '.join(values)}")


if __name__ == "__main__":
    with one_line_errors():
        main(sys.argv[1:])
