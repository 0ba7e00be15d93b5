"""The command line of every program: `--config FILE [--config.group.field=value ...]`.

A config file is a Python program that defines `get_config()`, as in ml_collections.
"""

import dataclasses
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from absl import flags
from ml_collections import config_flags

from compad_jax.backend import launch
from compad_jax.config import Config, default_config, from_dict, load_json, to_dict
from compad_jax.config.checks import ConfigError, differences
from compad_jax.config.shipped import is_shipped, trained_directory

_SHORT = re.compile(r"^--init_from(=|$)")  # A word that users type, for a setting.


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A parsed command line."""

    config: Config
    workdir: str
    checkpoint: str = ""  # A shipped agent or a run directory, instead of a config file.
    compare: tuple[str, ...] = ()  # Run directories to compare; then `config` is unused.


def run_program(main: Callable[[Arguments], None], usage: str | None = None) -> None:
    """Runs a program on the command line; with --help, prints its usage, or its file's."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(usage or sys.modules[main.__module__].__doc__)
        print("Every setting and its default: compad_jax/config/settings.py")
        return

    def program() -> None:
        with one_line_errors():
            main(parse_arguments([sys.argv[0], *rest]))

    try:
        with one_line_errors():
            membership, rest = launch.take_membership(sys.argv[1:])
            launch.join(membership)
        launch.end_together(program)
    except KeyboardInterrupt:
        sys.exit(130)  # Without a traceback: nothing went wrong.


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a `ConfigError` into one line and exit code 2."""
    try:
        yield
    except ConfigError as error:
        sys.exit(_fail(str(error)))


def _fail(message: str) -> int:
    launch.say(f"error: {message}")
    return 2


def load_config(path: str, overrides: Sequence[str] = ()) -> Config:
    """Loads a config file.

    Args:
        path: file that defines `get_config() -> ConfigDict`.
        overrides: `group.field=value` strings.

    Returns:
        The settings.

    Raises:
        ConfigError: anything wrong with the file or an override.
    """
    return parse_arguments(["", "--config", path, *(f"--config.{o}" for o in overrides)]).config


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Parses the command line.

    Args:
        argv: program name, then `--config FILE`, `--config.group.field=value`,
            `--workdir DIR`, `--init_from DIR` (for `--config.train.init_from`);
            `--checkpoint NAME` instead of a file, for an agent or run that is there; or
            `--compare DIR DIR ...`.

    Returns:
        The settings and the working directory, by default `runs/` plus the name of the
        config file and its overrides, `runs/agents/` plus the name of an agent, or the run.

    Raises:
        ConfigError: one line on what is wrong.
    """
    words = [_SHORT.sub(r"--config.train.init_from\1", x) for x in argv[1:]]
    path, rest = _take("config", words)
    checkpoint, rest = _take("checkpoint", rest)
    if path and checkpoint:
        raise ConfigError("--checkpoint: has settings of its own; leave --config FILE out")
    values = default_config()
    folder = trained_directory(checkpoint) if checkpoint else None
    if folder:
        values.update(to_dict(load_json(str(folder / "config.json"))))
    if path:
        _update(values, _run_config_file(path))
    parser = flags.FlagValues()
    flags.DEFINE_string("workdir", "", "Run directory.", flag_values=parser)
    flags.DEFINE_boolean("compare", False, "Compare run directories.", flag_values=parser)
    arguments = ["", *rest]
    from_file = values.to_dict()
    for item in rest:
        if item.startswith("--config."):
            _check_name(from_file, item.removeprefix("--config.").split("=")[0])
    try:
        overridden = config_flags.DEFINE_config_dict(
            "config", values, flag_values=parser, sys_argv=arguments
        )
        _, *positional = parser(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(_one_line(error)) from error
    if parser.compare:
        if len(positional) < 2:
            raise ConfigError("--compare: name at least two run directories")
        return Arguments(Config(), parser.workdir, compare=tuple(positional))
    if positional:
        raise ConfigError(f"stray argument {positional[0]!r}: write --name=value")
    if not path and not folder:
        raise ConfigError("--config FILE is missing, for example --config configs/small.py")
    config = from_dict((overridden.value or values).to_dict())
    workdir = parser.workdir
    if folder and not workdir:
        workdir = os.path.join("runs", "agents", folder.name) if is_shipped(folder) else checkpoint
    workdir = workdir or _default_workdir(path, from_file, to_dict(config))
    return Arguments(config, workdir, checkpoint)


def _take(name: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Splits `--name VALUE` or `--name=VALUE` from the other arguments."""
    value, rest, items = "", [], iter(arguments)
    for item in items:
        if item == f"--{name}":
            value = next(items, "")
        elif item.startswith(f"--{name}="):
            value = item.removeprefix(f"--{name}=")
        else:
            rest.append(item)
    return value, rest


def _check_name(values: dict[str, Any], path: str) -> None:
    """Raises a ConfigError if there is no setting of that dotted name."""
    group: Any = values
    for name in path.split("."):
        if not isinstance(group, dict) or name not in group:
            known = ", ".join(group) if isinstance(group, dict) else "none"
            raise ConfigError(f"--config.{path}: no such setting {name!r}; known there: {known}")
        group = group[name]


def _run_config_file(path: str) -> Any:
    """What a config file's `get_config()` returns."""
    if not os.path.isfile(path):
        raise ConfigError(f"--config {path}: no such file")
    try:
        program = runpy.run_path(path)
        if "get_config" not in program:
            raise NameError("defines no get_config()")
        return program["get_config"]()
    except Exception as error:  # A config file is a program: anything may go wrong in it.
        raise ConfigError(f"--config {path}: {_one_line(error)}") from error


def _update(values: Any, changes: Any) -> None:
    """Takes over a config file's settings; it may have made groups or fields of its own."""
    try:
        values.update(changes)
    except Exception as error:
        raise ConfigError(f"get_config(): {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    """An error's text without line breaks; its type if there is no text."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__


def _default_workdir(path: str, from_file: dict[str, Any], final: dict[str, Any]) -> str:
    """`runs/<file>`, plus what the command line changed of the training."""
    changed = [
        f"{name}={after}".replace("/", "_")
        for name, _, after in differences(from_file, final)
        if not name.startswith("eval.")
    ]
    stem = os.path.splitext(os.path.basename(path))[0]
    return os.path.join("runs", ",".join([stem, *changed]))
