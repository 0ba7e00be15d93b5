"""How several processes find each other, and how they end: all together."""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import jax
from jax._src.clusters import ClusterEnv  # JAX tells nobody else how many processes it finds.

from compad_jax.backend import processes
from compad_jax.config.checks import ConfigError, explain
from compad_jax.config.membership import MEMBERSHIP_FLAGS, Membership

_GRACE = 10  # Seconds to clean up after another process failed.
_HEARTBEAT = 60  # Seconds without a sign of life after which a process counts as dead.


def join(membership: Membership) -> None:
    """Brings all processes together; call it before anything runs on a device.

    Without flags JAX looks for a cluster that it knows (Slurm, Open MPI, Kubernetes, Cloud TPU).
    A single process needs no others, and all its devices.

    Raises:
        ConfigError: they cannot come together.
    """
    found = _find(membership)
    if found[1] in (None, 1):
        return
    _connect(found, membership.timeout)
    if not processes.is_primary():  # Process 0 speaks for all.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        logging.disable(logging.WARNING)


def _find(membership: Membership) -> tuple[Any, ...]:
    """Coordinator, number of processes, own index and local devices."""
    if membership.num_processes is not None:
        return *membership[:3], None
    try:
        return ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, membership.timeout
        )
    except Exception as error:  # Each kind of cluster has its own.
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"a cluster, but not its processes: {reason}; use {MEMBERSHIP_FLAGS}"
        ) from error


def _connect(found: tuple[Any, ...], timeout: int) -> None:
    """Starts or finds JAX's coordinator; the process ends if not all come in time."""
    address, number, own, local_devices = found
    who = f"process {own} of {number}"

    def give_up() -> None:
        text = f"error: {who}: the coordinator {address} or a process did not come in {timeout} s"
        print(text, file=sys.stderr, flush=True)
        os._exit(1)

    # JAX itself would abort with a stack trace, and take SIGTERM for its own.
    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    timer.start()
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            address,
            number,
            own,
            local_devices,
            initialization_timeout=timeout + 60,
            heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{who} cannot join at {address}: {reason}") from error
    finally:
        timer.cancel()


def end_together(program: Callable[[], None]) -> None:
    """Runs a program in all processes; where one fails, all end with its exit code.

    Only the first that fails says why. The others get a moment to finish by themselves, because
    most failures strike all of them; then they are ended, whatever they wait for.
    """
    if processes.count() == 1:
        program()
        return
    is_over = threading.Event()
    watch = threading.Thread(target=_leave_with_others, args=(is_over,), daemon=True)
    watch.start()
    code = _outcome(program) or _outcome(lambda: processes.barrier("the end"))
    is_over.set()
    if code or processes.is_primary():
        _set_once("ended", str(code))
    watch.join(_GRACE)
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        _wait_for_others()
        os._exit(code)  # The service's own farewell would wait for those that failed.
    jax.distributed.shutdown()


def _outcome(program: Callable[[], None]) -> int:
    """Runs a program; returns its exit code, having said what went wrong."""
    who = f"process {processes.index()} of {processes.count()}"
    try:
        program()
    except SystemExit as error:
        if isinstance(error.code, str):
            _say(error.code)
        return 1 if isinstance(error.code, str) else error.code or 0
    except (ConfigError, OSError) as error:
        message, code = explain(error)
        _say(message)
        return code
    except (processes.ProcessError, jax.errors.JaxRuntimeError) as error:
        _say(f"error: {who}: {str(error).splitlines()[0]}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BaseException:
        _say(f"{traceback.format_exc()}in {who}")
        return 1
    return 0


def _say(message: str) -> None:
    """Prints what went wrong, unless another process did already."""
    if _set_once("speaker", str(processes.index())):
        print(message, file=sys.stderr, flush=True)


def _set_once(name: str, value: str) -> bool:
    """Tells the other processes something, unless one of them did; returns whether it did."""
    try:
        processes.client().key_value_set(f"compad_jax/{name}", value)
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _leave_with_others(is_over: threading.Event) -> None:
    """Ends this process a moment after another one failed."""
    try:
        code = processes.client().blocking_key_value_get("compad_jax/ended", 10**10)
    except jax.errors.JaxRuntimeError:
        return  # The service is gone: JAX ends the process.
    if int(code) and not is_over.wait(_GRACE):
        _set_once(f"left/{processes.index()}", "")
        os._exit(int(code))


def _wait_for_others() -> None:
    """Process 0, the coordinator, leaves last: the others could not be told otherwise."""
    _set_once(f"left/{processes.index()}", "")
    for i in range(processes.count() if processes.is_primary() else 0):
        try:
            place = f"compad_jax/left/{i}"
            processes.client().blocking_key_value_get(place, 1000 * (_GRACE + 5))
        except jax.errors.JaxRuntimeError:
            return  # It was killed.
