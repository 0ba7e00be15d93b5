"""The command line of every program: `--config FILE [--config.group.field=value ...]`.

A config file is a Python program that defines `get_config()`, as in ml_collections.
"""

import dataclasses
import hashlib
import importlib.util
import io
import os
import re
import runpy
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from absl import flags
from ml_collections import config_flags

from compad_jax.config import Config, default_config, from_dict, load_json, to_dict
from compad_jax.config.checks import (
    KINDS,
    ConfigError,
    differences,
    explain,
    leaves_of,
    one_line,
    places_of,
    require,
    suggest,
)
from compad_jax.config.help import settings_help
from compad_jax.config.membership import take_membership
from compad_jax.config.shipped import is_shipped, trained_directory

_MAX_NAME = 160  # Bytes of a run directory's name; file systems allow 255.
_SHORT = re.compile(r"^--init_from(=|$)")  # A word that users type, for a setting.


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A parsed command line."""

    config: Config
    workdir: str
    checkpoint: str = ""  # A shipped agent or a run directory, instead of a config file.
    compare: tuple[str, ...] = ()  # Run directories to compare; then `config` is unused.
    stopped_exit_code: int | None = None  # Of a training that a signal stopped; None: 128 + signal.


def run_program(main: Callable[[Arguments], None], usage: str | None = None) -> None:
    """Runs a program on the command line; with --help, prints its usage, or its file's."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal cannot show must not end a program, nor what was printed be lost.
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    if {"-h", "--help"} & set(sys.argv[1:]):
        with one_line_errors():
            print(usage or sys.modules[main.__module__].__doc__)
            print(f"Settings, their defaults and what they mean:\n\n{settings_help()}")
        return
    try:
        with one_line_errors():
            _require_posix()
            membership, rest = take_membership(sys.argv[1:])
            arguments = parse_arguments([sys.argv[0], *rest])
            from compad_jax.backend import launch  # It imports JAX, which takes its time.

            launch.join(membership)
            launch.end_together(lambda: main(arguments))
    except KeyboardInterrupt:
        sys.exit(130)  # Without a traceback: nothing went wrong.


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns a `ConfigError` into a line and exit code 2, an `OSError` into a line and 1.

    Where nobody reads on, as after `| head`, a program ends as if by SIGPIPE.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (ConfigError, OSError) as error:
        message, code = explain(error)
        print(message, file=sys.stderr)
        sys.exit(code)


def _require_posix() -> None:
    """Raises a ConfigError where the standard library lacks what only Windows lacks."""
    missing = [name for name in ("fcntl", "resource") if importlib.util.find_spec(name) is None]
    require(
        not missing,
        f"this system has no {', '.join(missing)}: the programs run on Linux and macOS; on "
        "Windows, in its subsystem for Linux (WSL)",
    )


def load_config(path: str, overrides: Sequence[str] = ()) -> Config:
    """Loads a config file, with `group.field=value` overrides.

    An empty path stands for the defaults; another file defines `get_config() -> ConfigDict`.

    Raises:
        ConfigError: anything wrong with the file or an override.
    """
    words = ["", *(["--config", path] if path else []), *(f"--config.{o}" for o in overrides)]
    return parse_arguments(words, needs_file=bool(path)).config


def parse_arguments(argv: Sequence[str], *, needs_file: bool = True) -> Arguments:
    """Parses the command line.

    Args:
        argv: program name, then `--config FILE`, `--config.group.field=value`,
            `--workdir DIR`, `--init_from DIR` (for `--config.train.init_from`);
            `--checkpoint NAME` instead of a file, for an agent or run that is there;
            `--stopped_exit_code N`; or `--compare DIR DIR ...`.
        needs_file: refuse settings that stand in no file.

    Returns:
        The settings and the working directory, by default `runs/` plus the name of the
        config file and its overrides, `runs/agents/` plus the name of an agent, or the run.

    Raises:
        ConfigError: one line on what is wrong.
    """
    words = [_SHORT.sub(r"--config.train.init_from\1", x) for x in argv[1:]]
    path, rest = _take("config", words)
    checkpoint, rest = _take("checkpoint", rest)
    checkpoint = os.path.expanduser(checkpoint)
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
    flags.DEFINE_integer("stopped_exit_code", None, "", 1, 255, flag_values=parser)
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
        raise ConfigError(_explain_flag(one_line(error), from_file)) from error
    if parser.compare:
        if len(positional) < 2:
            raise ConfigError("--compare: name at least two run directories")
        runs = tuple(map(os.path.expanduser, positional))
        return Arguments(Config(), os.path.expanduser(parser.workdir), compare=runs)
    if positional:
        raise ConfigError(_stray(positional[0], rest))
    if needs_file and not path and not folder:
        raise ConfigError("--config FILE is missing, for example --config configs/small.py")
    config = from_dict((overridden.value or values).to_dict())
    workdir = os.path.expanduser(parser.workdir)
    if folder and not workdir:
        workdir = os.path.join("runs", "agents", folder.name) if is_shipped(folder) else checkpoint
    workdir = workdir or _default_workdir(path, from_file, to_dict(config))
    return Arguments(config, workdir, checkpoint, stopped_exit_code=parser.stopped_exit_code)


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


def without(name: str, arguments: Sequence[str]) -> list[str]:
    """Arguments without `--name VALUE` and `--name=VALUE`."""
    return _take(name, arguments)[1]


def _stray(word: str, arguments: Sequence[str]) -> str:
    """What to write instead of a word that belongs to no flag."""
    before = arguments[arguments.index(word) - 1] if word in arguments[1:] else ""
    is_flag = before.startswith("--") and before != "--" and "=" not in before
    return f"stray argument {word!r}: write {f'{before}={word}' if is_flag else '--name=value'}"


def _check_name(values: dict[str, Any], path: str) -> None:
    """Raises a ConfigError if there is no setting of that dotted name."""
    group: Any = values
    for name in path.split("."):
        if not isinstance(group, dict) or name not in group:
            known = ", ".join(group) if isinstance(group, dict) else "none"
            raise ConfigError(
                f"--config.{path}: no such setting {name!r}{suggest(path, places_of(values))}; "
                f"known there: {known}"
            )
        group = group[name]


def _explain_flag(message: str, values: dict[str, Any]) -> str:
    """What was wrong with a flag: what its setting must be instead of the parser's words."""
    setting = re.match(r"flag (--config\.([\w.]+)=.*?): ", message)
    if not setting:
        return message
    kind = type(dict(leaves_of(values)).get(setting[2], {}))
    return f"{setting[1]}: must be {KINDS[kind]}"


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
        raise ConfigError(f"--config {path}: {one_line(error)}") from error


def _update(values: Any, changes: Any) -> None:
    """Takes over a config file's settings; it may have made groups or fields of its own."""
    try:
        values.update(changes)
    except Exception as error:
        raise ConfigError(f"get_config(): {one_line(error)}") from error


def _default_workdir(path: str, from_file: dict[str, Any], final: dict[str, Any]) -> str:
    """`runs/<file>`, plus what the command line changed of the training."""
    changed = [
        f"{name}={after}".replace("/", "_")
        for name, _, after in differences(from_file, final)
        if not name.startswith("eval.")
    ]
    stem = os.path.splitext(os.path.basename(path))[0]
    return os.path.join("runs", _shorten(",".join([stem, *changed])))


def _shorten(name: str) -> str:
    """A name that every file system takes: the end of a long one becomes its hash."""
    encoded = os.fsencode(name)
    if len(encoded) <= _MAX_NAME:
        return name
    return f"{os.fsdecode(encoded[:_MAX_NAME])},{hashlib.sha256(encoded).hexdigest()[:8]}"
