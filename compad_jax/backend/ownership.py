"""Who works in a place: one process at a time, the others are told who and since when."""

import contextlib
import errno
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from compad_jax.backend.files import parse_json
from compad_jax.config.checks import ConfigError, require

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_POLL_SECONDS = 0.2
_inside: dict[str, int] = {}  # Places that this process works in, and the thread that does.
_registering = threading.Lock()


class Owner(NamedTuple):
    """The process that works in a place."""

    host: str
    process: int
    since: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"


@contextlib.contextmanager
def owned(path: str, what: str, *, wait: bool = False) -> Iterator[None]:
    """Keeps other processes out until the block ends, however this process ends.

    A lock of the operating system on the file `path` does it. On file systems without such locks
    the file `path`.owner does: one that a killed process of this host left is taken over, one of
    another host is named. A thread that is inside already may enter again.

    Args:
        path: of the lock file; its folder exists. The file is there while a process is inside.
        what: what is worked in, for the message.
        wait: wait for the other process to end, instead of refusing.

    Raises:
        ConfigError: another process is inside: who, since when, and what to do.
    """
    place = os.path.realpath(path)
    if _inside.get(place) == threading.get_ident():
        yield
        return
    while not _register(place):
        require(wait, f"{what}: in use by another thread of this process; wait for it")
        time.sleep(_POLL_SECONDS)
    try:
        with _locked(path, what, wait):
            yield
    finally:
        del _inside[place]


def _register(place: str) -> bool:
    """Notes that this thread works in a place; False if another one does."""
    with _registering:
        return _inside.setdefault(place, threading.get_ident()) == threading.get_ident()


@contextlib.contextmanager
def _locked(path: str, what: str, wait: bool) -> Iterator[None]:
    """Holds a lock of the operating system, or a file where there is none."""
    descriptor = _lock(path, what, wait)
    if descriptor is None:
        with _owner_file(f"{path}.owner", what, wait):
            yield
        return
    try:
        yield
    finally:
        _remove(path)  # While it is locked: whoever waits sees that it is gone.
        os.close(descriptor)


def _lock(path: str, what: str, wait: bool) -> int | None:
    """The descriptor of the locked file; None where files cannot be locked."""
    while fcntl is not None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_same(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _describe_us().encode())
                return descriptor
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                _remove(path)
                os.close(descriptor)
                return None
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                error.filename = error.filename or path
                raise
            _refuse(what, _read_owner(path), "wait for it or end it")
        else:
            os.close(descriptor)  # The file of an owner that has just left: try the new one.
    return None


def _is_same(descriptor: int, path: str) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _owner_file(path: str, what: str, wait: bool) -> Iterator[None]:
    """Holds a file that only one process can create."""
    while not _create(path):
        owner = _read_owner(path)
        if owner and _has_ended(owner):
            _take_over(path, owner)
        elif wait:
            time.sleep(_POLL_SECONDS)
        elif os.path.exists(path):
            _refuse(what, owner, f"wait for it, or delete {path} if it runs no more")
    try:
        yield
    finally:
        _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _take_over(path: str, ended: Owner) -> None:
    """Removes the file of a process that has ended; of several takers, one does it."""
    claim = f"{path}.taken"
    if not _create(claim):
        time.sleep(_POLL_SECONDS)
        taker = _read_owner(claim)
        if taker and _has_ended(taker):
            _remove(claim)
        return
    try:
        if _read_owner(path) == ended:  # Nobody was faster.
            logging.warning("%s: left by %s, which has ended; taken over", path, ended)
            _remove(path)
    finally:
        _remove(claim)


def _create(path: str) -> bool:
    """Creates a file that names this process; False if there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(_describe_us())
    return True


def _describe_us() -> str:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps(Owner(platform.node(), os.getpid(), now)._asdict()) + "\n"


def _read_owner(path: str) -> Owner | None:
    """Whose file it is; None if it does not say so."""
    try:
        with open(path, "rb") as file:
            values: Any = parse_json(file.read())
        return Owner(str(values["host"]), int(values["process"]), str(values["since"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _has_ended(owner: Owner) -> bool:
    """Whether it is known that a process has ended: of another host it never is."""
    if owner.host != platform.node() or os.name == "nt":  # There, asking would end it.
        return False
    if owner.process == os.getpid():  # Reused: this process registers before it looks.
        return True
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # Somebody else's.
    return False


def _refuse(what: str, owner: Owner | None, advice: str) -> None:
    raise ConfigError(f"{what}: in use by {owner or 'another process'}; {advice}")
