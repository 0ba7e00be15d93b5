"""What a setting may be: types, ranges and words, checked when settings are built."""

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any


class ConfigError(ValueError):
    """A setting, file or argument that cannot be used; its text is one line."""


class Range(typing.NamedTuple):
    """Allowed numbers, low <= x < high."""

    low: float
    high: float = float("inf")


class Choice(tuple[str, ...]):
    """Allowed words."""


KINDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "a group of settings",
}
_INT32, _FLOAT32 = 2**31, 3e38  # Larger numbers do not fit the types of the computation.
Count = Annotated[int, Range(1, _INT32)]
Natural = Annotated[int, Range(0, _INT32)]
Positive = Annotated[float, Range(1e-30, _FLOAT32)]
NonNegative = Annotated[float, Range(0.0, _FLOAT32)]
Ratio = Annotated[float, Range(0.0, 1.0)]
Seed = Annotated[int, Range(0, 2**32)]  # Longer ones would be cut off by some generators.
Dropout = Annotated[float, Range(0.0, 255.5 / 256)]  # More is rounded to dropping everything.


def suggest(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a dotted name that is unknown; "" if nothing is like it."""
    known = list(known)
    last = {place.rpartition(".")[2]: place for place in known}
    like = difflib.get_close_matches(name, known, 1, 0.8)
    like = like or difflib.get_close_matches(name.rpartition(".")[2], last, 1, 0.7)
    return f"; did you mean {last.get(like[0], like[0])}?" if like else ""


def leaves_of(values: dict[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted names of all leaves, and the leaves."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves_of(value, f"{where}{name}.")
        else:
            yield where + name, value


def places_of(values: dict[str, Any]) -> list[str]:
    """The dotted names of all leaves."""
    return [place for place, _ in leaves_of(values)]


def differences(
    old: dict[str, Any], new: dict[str, Any], where: str = ""
) -> list[tuple[str, Any, Any]]:
    """Lists (dotted path, old, new) for every leaf in which two nested dictionaries differ."""
    rows: list[tuple[str, Any, Any]] = []
    for name in sorted(set(old) | set(new)):
        x, y = old.get(name), new.get(name)
        if isinstance(x, dict) and isinstance(y, dict):
            rows += differences(x, y, f"{where}{name}.")
        elif x != y:
            rows.append((f"{where}{name}", x, y))
    return rows


def require_equal(what: str, old: dict[str, Any], new: dict[str, Any], advice: str) -> None:
    """Raises a ConfigError that lists what differs between the settings of `what` and new ones."""
    changed = [f"{name} {x!r}, now {y!r}" for name, x, y in differences(old, new)]
    require(not changed, f"{what}: made with other settings ({'; '.join(changed)}); {advice}")


def require(condition: bool, message: str) -> None:
    """Raises a ConfigError unless a condition holds."""
    if not condition:
        raise ConfigError(message)


def build(cls: type, values: dict[str, Any], where: str = "") -> Any:
    """Builds a dataclass from a nested dictionary, every leaf checked against its annotation.

    Fields that are missing take their defaults. `where` is the dotted path of the group, for
    messages.

    Raises:
        ConfigError: an unknown name, a wrong type or range.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    arguments = {}
    for name, value in values.items():
        path = f"{where}{name}"
        like = "" if name in hints else suggest(path, [f"{where}{x}" for x in hints])
        known = ", ".join(hints)
        require(name in hints, f"{path}: no such setting{like}; known here are {known}")
        if dataclasses.is_dataclass(hints[name]):
            require(isinstance(value, dict), f"{path}={value!r}: must be {KINDS[dict]}")
            arguments[name] = build(hints[name], value, f"{path}.")
        else:
            arguments[name] = _check_leaf(path, value, hints[name])
    return cls(**arguments)


def _check_leaf(path: str, value: Any, hint: Any) -> Any:
    """The value, an int made a float where one is wanted; or a ConfigError."""
    kind, *rules = typing.get_args(hint) or (hint,)
    if kind is float and type(value) is int and abs(value) < _FLOAT32:
        value = float(value)
    require(type(value) is kind, f"{path}={value!r}: must be {KINDS[kind]}")
    require(kind is not str or "\0" not in value, f"{path}={value!r}: must be text without NUL")
    for rule in rules:
        if isinstance(rule, Choice):
            require(value in rule, f"{path}={value!r}: allowed are {', '.join(rule)}")
        else:
            allowed = f"at least {rule.low:g}" if rule.low != 1e-30 else "above 0"
            allowed += f" and below {rule.high:.10g}" if rule.high != float("inf") else ""
            require(rule.low <= value < rule.high, f"{path}={value!r}: must be {allowed}")
    return value


def explain(error: ConfigError | OSError) -> tuple[str, int]:
    """What a program says of a mistake, one line, and its exit code: 2, or 1 of the system's."""
    if isinstance(error, ConfigError):
        return f"error: {error}", 2
    reason = error.strerror or one_line(error)
    return f"error: {error.filename}: {reason}" if error.filename else f"error: {reason}", 1


def one_line(error: BaseException) -> str:
    """An error's text without line breaks; its type if there is no text."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split()) or type(error).__name__
