"""The text of `--help` on settings: every one with its default and what it means.

Meanings are the comments beside the fields of `settings.py`, so that there is one place for them.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from compad_jax.config.settings import Config

_WIDTH = 100
_INDENT = " " * 6


class Setting(NamedTuple):
    """A leaf of a group."""

    place: str  # Its dotted path.
    default: Any
    meaning: str


class Group(NamedTuple):
    """Settings that stand together, without those of the groups in it."""

    place: str  # Its dotted path.
    title: str
    settings: list[Setting]


def settings_help() -> str:
    """All settings by group, each as `name=default` with its meaning below."""
    return "\n\n".join(_paragraph(group) for group in describe_settings())


def settings_tables() -> str:
    """All settings by group, as Markdown: a heading and a table each."""
    return "\n\n".join(_table(group) for group in describe_settings())


def describe_settings() -> Iterator[Group]:
    """All settings that there are, a group before the groups in it."""
    return _describe(Config(), "")


def _describe(group: Any, place: str) -> Iterator[Group]:
    comments, start = meanings(type(group)), f"{place}." if place else ""
    values = {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
    groups = {name: x for name, x in values.items() if dataclasses.is_dataclass(x)}
    leaves = [
        Setting(start + name, value, comments[name])
        for name, value in values.items()
        if name not in groups
    ]
    if leaves:
        yield Group(place, (inspect.getdoc(type(group)) or "").splitlines()[0], leaves)
    for name, inner in groups.items():
        yield from _describe(inner, start + name)


def _paragraph(group: Group) -> str:
    lines = [f"{group.place}: {group.title}"]
    wrap = textwrap.TextWrapper(_WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT).wrap
    for setting in group.settings:
        lines += [f"  --config.{setting.place}={setting.default!r}", *wrap(setting.meaning)]
    return "\n".join(lines)


def _table(group: Group) -> str:
    rows = [
        f"| `{setting.place}` | `{setting.default!r}` | {setting.meaning} |"
        for setting in group.settings
    ]
    head = f"### {group.place}", "", group.title, "", "| setting | default | meaning |"
    return "\n".join([*head, "| --- | --- | --- |", *rows])


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
