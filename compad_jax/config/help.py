"""The text of `--help` on settings: every one with its default and what it means.

Meanings are the comments beside the fields of `settings.py`, so that there is one place for them.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from compad_jax.config.settings import Config

_WIDTH = 100
_INDENT = " " * 6


def settings_help() -> str:
    """All settings by group, each as `name = default` with its meaning below."""
    return "\n\n".join(_describe(Config(), ""))


def _describe(group: Any, path: str) -> Iterator[str]:
    """A paragraph of a group's leaves, then those of the groups in it."""
    comments = meanings(type(group))
    values = {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
    groups = {name: x for name, x in values.items() if dataclasses.is_dataclass(x)}
    leaves = [
        "\n".join([f"  --config.{path}{name}={value!r}", *_wrap(comments[name])])
        for name, value in values.items()
        if name not in groups
    ]
    if leaves:
        title = (inspect.getdoc(type(group)) or "").splitlines()[0]
        yield "\n".join([f"{path.rstrip('.')}: {title}", *leaves])
    for name, inner in groups.items():
        yield from _describe(inner, f"{path}{name}.")


def _wrap(meaning: str) -> list[str]:
    return textwrap.wrap(meaning, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)


def meanings(cls: type) -> dict[str, str]:
    """The comment of every field of a settings class, its own or inherited; "" where none is."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _comments(inspect.getsource(base))
    return found


def _comments(source: str) -> dict[str, str]:
    """The comments above and behind each annotated name of a class, joined."""
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    fields = [x for x in definition.body if isinstance(x, ast.AnnAssign)]
    return {
        ast.unparse(field.target): " ".join(
            [*_above(lines, field.lineno - 2), *_behind(lines[(field.end_lineno or 0) - 1])]
        )
        for field in fields
    }


def _above(lines: list[str], index: int) -> list[str]:
    """The lines of a comment that ends at an index, without their signs."""
    texts: list[str] = []
    while lines[index].lstrip().startswith("#"):
        texts.insert(0, lines[index].lstrip().removeprefix("# "))
        index -= 1
    return texts


def _behind(line: str) -> Iterator[str]:
    """The comment at the end of a line."""
    if "  # " in line:
        yield line.split("  # ", 1)[1]
