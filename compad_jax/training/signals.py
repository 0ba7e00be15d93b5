"""SIGTERM and Ctrl-C as a request: the training finishes its step and saves before it stops."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """A signal asked the run to stop; everything is saved."""

    def __init__(self, message: str, number: int) -> None:
        """What to tell the user, and the signal's number."""
        super().__init__(message)
        self.exit_code = 128 + number  # As shells count: 130 after Ctrl-C, 143 after SIGTERM.


class StopRequest:
    """Remembers a signal; `number` is None until one arrives."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.number: int | None = None

    def __call__(self, number: int, frame: object) -> None:
        """The signal handler."""
        self.number = number


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catches the two signals inside the block."""
    request = StopRequest()
    old = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
