"""A bar with rate and time left, for whatever may take long."""

from typing import Any

from tqdm import tqdm

from compad_jax.backend import processes

_PATIENCE = 3  # Seconds without a bar: what is over by then needs none.


def progress_bar(what: str, total: int, unit: str) -> Any:
    """A bar that is shown by process 0, where the work takes its time, and leaves no line.

    It says what is done, for example "evaluating", and is a context manager; `update(number)` tells
    it how many more units of `total` are done.
    """
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        delay=_PATIENCE,
        leave=False,
        disable=not processes.is_primary(),
    )
