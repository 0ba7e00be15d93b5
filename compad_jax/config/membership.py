"""Which processes run a program together, by the flags of its command line."""

import argparse
import re
from collections.abc import Sequence
from typing import NamedTuple

from compad_jax.config.checks import ConfigError, require

MEMBERSHIP_FLAGS = "--coordinator HOST:PORT --num_processes N --process_id I, or --num_processes 1"


class Membership(NamedTuple):
    """Which processes are to run together; None: as JAX detects it."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    timeout: int = 300  # Seconds for all to come.


def take_membership(arguments: Sequence[str]) -> tuple[Membership, list[str]]:
    """Splits the flags that say which processes run together from other arguments.

    Raises:
        ConfigError: one line on what is wrong with them.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--coordinator")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int)
    parser.add_argument("--initialization_timeout", type=int, default=Membership().timeout)
    try:
        flags, rest = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(str(error).removeprefix("argument ")) from error
    membership = Membership(*vars(flags).values())
    _check(membership)
    return membership, rest


def _check(membership: Membership) -> None:
    address, number, own, timeout = membership
    require(timeout > 0, f"--initialization_timeout={timeout}: must be above 0 seconds")
    require(number is None or number > 0, f"--num_processes={number}: must be at least 1")
    given = [x is not None for x in membership[:3]]
    if not any(given) or membership[:3] == (None, 1, None):
        return
    require(all(given), f"the processes are named by all of {MEMBERSHIP_FLAGS}")
    assert address is not None and number is not None and own is not None
    port = re.fullmatch(r".+:(\d{1,5})", address)
    require(
        port is not None and 0 < int(port[1]) < 2**16,
        f"--coordinator={address}: must be HOST:PORT, the same for all processes",
    )
    require(0 <= own < number, f"--process_id={own}: must be at least 0 and below {number}")
