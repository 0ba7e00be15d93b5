"""Signals end a process at once, or ask its training to stop; each test starts a small process."""

import signal
import subprocess
import sys

import pytest

_LISTEN = """
import hashlib, sys, threading, time
from compad_jax.training import signals
signals.listen()
"""
# Inside a function in C, for minutes: Python runs no handler there.
_COMPUTE = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**30)"
_THREAD = "threading.Thread(target=time.sleep, args=(100,)).start(); time.sleep(100)"
_SWALLOW = """
while True:
    try:
        time.sleep(100)
    except BaseException:
        pass
"""
_TRAIN = """
with signals.stop_requests() as stop:
    print("ready", flush=True)
    while not stop.number:
        time.sleep(0.01)
    print("saved", stop.number, flush=True)
    {more}
print("after", stop.number, flush=True)
"""


def _signal(code, *numbers):
    """Exit code and output of a program that gets the signals, each after a further line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        lines = []
        try:
            for number in numbers:
                lines.append(process.stdout.readline())
                process.send_signal(number)
            output, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    return process.returncode, "".join(lines) + output, errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("work", [_COMPUTE, _THREAD, _SWALLOW])
def test_a_signal_ends_whatever_goes_on(work, number, code):
    program = f"{_LISTEN}\nprint('ready', flush=True)\n{work}"
    assert _signal(program, number) == (code, "ready\n", "")


def test_the_end_is_announced_and_its_code_chosen():
    choose = "signals.choose_end('stopped; to go on: again', 75)"
    program = f"{_LISTEN}\n{choose}\nprint('ready', flush=True)\n{_THREAD}"
    expected = 75, "ready\nstopped; to go on: again\n", ""
    assert _signal(program, signal.SIGTERM) == expected


def test_a_training_is_asked_and_ends_by_itself():
    program = _LISTEN + _TRAIN.format(more="")
    assert _signal(program, signal.SIGINT) == (0, "ready\nsaved 2\nafter 2\n", "")


def test_a_second_signal_ends_at_once():
    program = f"{_LISTEN}\nsignals.choose_end('never said')\n" + _TRAIN.format(more=_COMPUTE)
    assert _signal(program, signal.SIGINT, signal.SIGTERM) == (143, "ready\nsaved 2\n", "")


def test_after_a_training_signals_end_the_process_again():
    work = f"print('evaluates', flush=True); {_COMPUTE}"
    program = _LISTEN + "with signals.stop_requests(): pass\n" + work
    assert _signal(program, signal.SIGINT) == (130, "evaluates\n", "")


def test_where_no_program_listens_a_second_ctrl_c_is_as_ever():
    """As in a notebook, which stays."""
    begin = _LISTEN.replace("signals.listen()", "")
    begin += "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code, output, errors = _signal(
        begin + _TRAIN.format(more="time.sleep(100)"), signal.SIGINT, signal.SIGINT
    )
    assert (code, output) == (-signal.SIGINT, "ready\nsaved 2\n")
    assert errors.strip().endswith("KeyboardInterrupt")


def test_a_thread_may_train():
    """Only the main thread can set handlers."""
    train = "def train():\n    with signals.stop_requests() as stop: print(stop.number)\n"
    work = f"{train}thread = threading.Thread(target=train); thread.start(); thread.join()"
    program = _LISTEN.replace("signals.listen()", "") + work
    assert _signal(program) == (0, "None\n", "")
