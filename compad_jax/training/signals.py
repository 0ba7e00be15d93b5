"""SIGINT (Ctrl-C) and SIGTERM: a training finishes its step and saves; all else ends at once.

A program calls `listen` before its heavy imports. A thread then hears the signals, because the
main one may be inside a compiler for minutes, where Python runs no handler; and no
KeyboardInterrupt is ever raised, which a callback of a library could swallow.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal asked the run to stop; everything is saved."""

    def __init__(self, message: str, number: int) -> None:
        """What to tell the user, and the signal's number."""
        super().__init__(message)
        self.exit_code = exit_code(number)


class StopRequest:
    """Remembers a signal; `number` is None until one arrives."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.number: int | None = None


class _Process:
    """What the signals mean in this process."""

    lock = threading.Lock()
    listens = False  # A thread hears the signals.
    request: StopRequest | None = None  # Of the training under way.
    exit_code: int | None = None  # Chosen by the user.
    farewell = ""  # A line that is printed where a signal ends the process.


def exit_code(number: int) -> int:
    """As shells count, 130 after Ctrl-C and 143 after SIGTERM; or what the user chose."""
    return 128 + number if _Process.exit_code is None else _Process.exit_code


def choose_end(farewell: str, exit_code: int | None = None) -> None:
    """Says how a signal ends the process.

    The farewell is a line to print, where there is no training under way that prints its own. The
    exit code replaces 130 and 143: some schedulers start a job again after a certain code.
    """
    _Process.farewell, _Process.exit_code = farewell, exit_code


def listen() -> None:
    """From now on a signal ends this process or asks its training to stop."""
    if _Process.listens:
        return
    _Process.listens = True
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in _NUMBERS:
        signal.signal(number, lambda *_: None)  # Python only wakes the thread if there is any.
    threading.Thread(target=_hear, args=(reader, writer), daemon=True).start()


def _hear(reader: socket.socket, writer: socket.socket) -> None:
    """Obeys the signals, whose numbers arrive through a socket that `writer` keeps open."""
    while True:
        number = reader.recv(1)[0]
        if number in _NUMBERS and not _ask_to_stop(number):
            if _Process.farewell and _Process.request is None:
                os.write(1, f"{_Process.farewell}\n".encode())  # No lock that somebody may hold.
            # Not sys.exit: it would wait for other threads. Files are written whole or not at all.
            os._exit(exit_code(number))


def _ask_to_stop(number: int) -> bool:
    """Asks the training under way; False if there is none, or it was asked before."""
    with _Process.lock:
        request = _Process.request
        if request is None or request.number is not None:
            return False
        request.number = number
        return True


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Makes the first signal inside the block a request; a second one ends the process.

    Whoever leaves the block looks at `number` once more: from then on no request is made.
    """
    request = StopRequest()
    old: dict[int, Any] = {}

    def handle(number: int, frame: object) -> None:
        _ask_to_stop(number)
        for each, handler in old.items():
            signal.signal(each, handler)  # A second one does what it did before.

    is_main_thread = threading.current_thread() is threading.main_thread()
    _Process.request = request
    if is_main_thread and not _Process.listens:
        old |= {number: signal.signal(number, handle) for number in _NUMBERS}
    try:
        yield request
    finally:
        with _Process.lock:
            _Process.request = None
        for number, handler in old.items():
            signal.signal(number, handler)
