"""Several processes, on one host or many, that run one program together.

On the hosts they talk through JAX's coordination service, as `jax.distributed` set it up. A
process that is alone asks nobody: none of these functions costs it anything.
"""

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # Nothing public tells these without starting the devices.

from compad_jax.backend import sharding
from compad_jax.config.checks import ConfigError

_PATIENCE = 3600  # Seconds: longer than one process may need more than another for its share.
_calls = itertools.count()  # All processes make the same calls in the same order.


class ProcessError(Exception):
    """The processes cannot go on together; the text is one line."""


def count() -> int:
    """How many processes run this program together."""
    return distributed.global_state.num_processes


def index() -> int:
    """Which of them this is, from 0."""
    return distributed.global_state.process_id


def is_primary() -> bool:
    """Whether this is the process that logs, reports and writes what is not split."""
    return index() == 0


def client() -> Any:
    """The coordination service's client; only where there are several processes."""
    return distributed.global_state.client


def barrier(what: str, seconds: float = _PATIENCE) -> None:
    """Waits until all processes are here.

    Raises:
        ProcessError: some did not come in time.
    """
    if count() == 1:
        return
    try:
        client().wait_at_barrier(f"{what}/{next(_calls)}", int(1000 * seconds))
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ProcessError(f"waited in vain for the other processes ({what}): {reason}") from error


def exchange(what: str, value: Any) -> list[Any]:
    """What every process says, by its index: something small that JSON can hold.

    Raises:
        ProcessError: some did not come in time.
    """
    if count() == 1:
        return [value]
    place = f"compad_jax/{next(_calls)}"
    client().key_value_set(f"{place}/{index()}", json.dumps(value))
    barrier(what)
    said = {int(key.rsplit("/", 1)[1]): text for key, text in client().key_value_dir_get(place)}
    return [json.loads(said[i]) for i in range(count())]


@contextmanager
def primary_first(what: str) -> Iterator[None]:
    """Runs the body in process 0, and in the others once that is done."""
    if not is_primary():
        barrier(what)
    yield
    if is_primary():
        barrier(what)


def require_shared(path: str) -> None:
    """Raises a ConfigError if this process does not see a file that process 0 has made."""
    if not is_primary() and not os.path.exists(path):
        raise ConfigError(
            f"{path}: process {index()} does not see what process 0 wrote there; "
            "all processes need the same folder"
        )


class Agreement:
    """The largest number that any process says, known to all of them one call later.

    All call it equally often. A call waits for nothing but the numbers of the call before, so
    that devices stay busy. A process that is alone agrees with itself at once.
    """

    def __init__(self, mesh: jax.sharding.Mesh) -> None:
        """The devices that carry the numbers from process to process."""
        self._split = sharding.split_batch(mesh)
        self._largest = jax.jit(lambda x: x.max(), out_shardings=sharding.replicated(mesh))
        self._before: jax.Array | None = None

    def __call__(self, number: int) -> int:
        """Says a number >= 0; returns the largest of the call before, 0 at first."""
        if count() == 1:
            return number
        before = 0 if self._before is None else int(self._before)
        shape = (self._split.mesh.size,)
        said = jax.make_array_from_callback(
            shape, self._split, lambda where: np.full(shape, number, np.int32)[where]
        )
        self._before = self._largest(said)
        return before
