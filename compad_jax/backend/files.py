"""Files that are written whole or not at all, and read with one clear line if they are bad."""

import contextlib
import csv
import errno
import io
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compad_jax.config.checks import ConfigError, require


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Yields a temporary name in the folder of `path`, and renames the file that is written there.

    A reader sees the old file or the new one, also after a crash or on a full disk. The name is
    used by nobody else, so that what another process or program writes is never touched.

    Raises:
        OSError: it could not be written, with the name of the file; the old one stays.
    """
    temporary = temporary_name(path)
    try:
        with naming(path):
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def temporary_name(path: str) -> str:
    """A name beside a file or folder that nobody else uses; `is_temporary_of` knows it again."""
    return f"{path.rstrip(os.sep)}.{uuid.uuid4().hex}.partial"


def is_temporary_of(path: str, name: str) -> bool:
    """Whether a name is one that `temporary_name(path)` may have made."""
    pattern = re.escape(path.rstrip(os.sep)) + r"\.[0-9a-f]{32}\.partial"
    return re.fullmatch(pattern, name) is not None


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Adds the name of a file to an OSError that has none, as one of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def as_os_error(error: Exception, path: str) -> OSError:
    """An error of TensorStore or Orbax, as of a full disk, as what the operating system said."""
    if isinstance(error, OSError):
        error.filename = error.filename or path
        return error
    code = re.search(r"os_error_code='(\d+)'", str(error))
    number = int(code[1]) if code else errno.EIO
    reason = os.strerror(number) if code else " ".join(str(error).split())
    return OSError(number, reason, path)


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file, whole or not at all; see `replacing`."""
    with replacing(path) as temporary, open(temporary, "xb") as file:
        file.write(content)


def write_text(path: str, text: str) -> None:
    """Writes a text as UTF-8, whole or not at all; see `replacing`."""
    write_bytes(path, text.encode())


def write_json(path: str, values: Any, indent: int | None = 2) -> None:
    """Writes JSON, whole or not at all; a ValueError if a number is not finite."""
    write_text(path, json.dumps(values, indent=indent, allow_nan=False) + "\n")


def write_csv(path: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes a header and rows, whole or not at all; see `replacing`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_json(
    path: str, advice: str, fields: Mapping[str, type | tuple[type, ...]] | None = None
) -> dict[str, Any]:
    """Reads a JSON object; numbers that are not finite are None.

    `fields` are names that it must hold, each of this type or of one of these; others are returned,
    too. `advice` says what to do if it cannot be used.

    Raises:
        ConfigError: it is empty, not JSON, no object, or lacks a field: with the file's name.
        OSError: it is not there, or must not be read.
    """
    values = parse_object(read_bytes(path), path, advice)
    require_fields(path, values, fields or {}, advice)
    return values


def read_bytes(path: str) -> bytes:
    """Reads a file; an OSError with its name if that fails."""
    with naming(path), open(path, "rb") as file:
        return file.read()


def parse_object(content: bytes, path: str, advice: str) -> dict[str, Any]:
    """Parses what stands in the file `path`; a ConfigError unless it is a JSON object."""
    try:
        values = parse_json(content)
    except ValueError as error:
        reason = "is not JSON" if content.strip() else "is empty"
        raise ConfigError(f"{path}: {reason}; {advice}") from error
    require(isinstance(values, dict), f"{path}: holds no JSON object; {advice}")
    return values


def parse_json(text: bytes | str) -> Any:
    """Parses JSON; numbers that are not finite, which JSON does not know, become None.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def require_fields(
    where: str, values: Any, fields: Mapping[str, type | tuple[type, ...]], advice: str
) -> None:
    """Raises a ConfigError unless a dictionary holds these fields, of these types."""
    require(isinstance(values, dict), f"{where}: is no JSON object; {advice}")
    for name, kind in fields.items():
        require(name in values, f"{where}: lacks {name!r}; {advice}")
        value, kinds = values[name], kind if isinstance(kind, tuple) else (kind,)
        fits = type(value) in kinds  # A flag is no number, though Python's is.
        require(fits, f"{where}: {name!r} is {str(value)[:40]!r}, of a wrong type; {advice}")
