"""One process at a time in a place, with locks of the operating system and without them."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from compad_jax.backend import ownership
from compad_jax.backend.ownership import owned
from compad_jax.config.checks import ConfigError

_ROOT = Path(__file__).parents[2]
_ENDED = {"host": platform.node(), "process": 2**22 + 1, "since": "once"}  # Beyond any number.
# Holds the place until its input ends; the argument says whether there are locks.
_HOLDER = """
import sys
from compad_jax.backend import ownership
if sys.argv[2] == "file":
    ownership.fcntl = None
with ownership.owned(sys.argv[1], "it"):
    print("inside", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["lock", "file"])
def kind(request, monkeypatch):
    """With locks, and on a file system that has none."""
    if request.param == "file":

        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(ownership.fcntl, "flock", refuse)
    return request.param


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lock")


@pytest.fixture
def holder(path, kind):
    """Another process that is inside."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, path, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        text=True,
    )
    assert process.stdout.readline() == "inside\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_told_who_and_since_when(path, holder, tmp_path):
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(ConfigError) as error, owned(path, "runs/it"):
        raise AssertionError("inside")
    message = str(error.value)
    year = time.strftime("%Y-")
    assert message.startswith(f"runs/it: in use by process {holder.pid} on {platform.node()}, ")
    assert f"since {year}" in message
    assert "\n" not in message
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


@pytest.mark.parametrize("number", [signal.SIGKILL, None])
def test_it_is_free_however_the_first_ends(path, holder, tmp_path, number, caplog):
    if number:
        holder.send_signal(number)
    holder.communicate()
    with owned(path, "it"):
        assert os.listdir(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_waiting_one_comes_in_when_the_first_ends(path, holder):
    times = []

    def leave():
        time.sleep(0.5)
        times.append(time.monotonic())
        holder.stdin.close()

    thread = threading.Thread(target=leave)
    thread.start()
    with owned(path, "it", wait=True):
        times.append(time.monotonic())
    thread.join()
    assert times == sorted(times)


def test_a_thread_may_enter_again_and_others_may_not(path, kind):
    def enter():
        try:
            with owned(path, "it"):
                outcome.append("inside")
        except ConfigError as error:
            outcome.append(str(error))

    outcome = []
    with owned(path, "it"):
        with owned(path, "it"):
            pass
        assert os.listdir(os.path.dirname(path))  # Still owned.
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    enter()
    assert outcome == ["it: in use by another thread of this process; wait for it", "inside"]


@pytest.mark.parametrize("kind", ["file"], indirect=True)
def test_the_file_of_another_host_is_named_and_left(path, kind, tmp_path):
    held = tmp_path / "lock.owner"
    held.write_text(json.dumps(_ENDED | {"host": "elsewhere"}))
    message = rf"process {_ENDED['process']} on elsewhere, since once; .*delete {held} if"
    with pytest.raises(ConfigError, match=message), owned(path, "it"):
        raise AssertionError("inside")
    assert "elsewhere" in held.read_text()


@pytest.mark.parametrize("kind", ["file"], indirect=True)
def test_an_unreadable_file_is_named(path, kind, tmp_path):
    (tmp_path / "lock.owner").write_text("")
    with (
        pytest.raises(ConfigError, match=r"another process; .*delete .*lock\.owner"),
        owned(path, ""),
    ):
        raise AssertionError("inside")


@pytest.mark.parametrize("kind", ["file"], indirect=True)
@pytest.mark.parametrize("number", [_ENDED["process"], "own"])
def test_the_file_of_a_process_that_ended_is_taken_over(path, kind, tmp_path, caplog, number):
    """A number that is this process's own is an earlier one's, as after a container's restart."""
    number = os.getpid() if number == "own" else number
    (tmp_path / "lock.owner").write_text(json.dumps(_ENDED | {"process": number}))
    with owned(path, "it"):
        assert json.loads((tmp_path / "lock.owner").read_text())["process"] == os.getpid()
    assert "which has ended; taken over" in caplog.text
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["file"], indirect=True)
def test_a_new_owner_is_not_taken_for_the_one_that_ended(path, kind, tmp_path):
    held = tmp_path / "lock.owner"
    held.write_text(json.dumps(_ENDED | {"since": "now"}))  # Another taker was faster.
    ownership._take_over(str(held), ownership.Owner(**_ENDED))
    assert os.listdir(tmp_path) == ["lock.owner"]


def test_of_many_that_wait_one_is_inside(path, kind, tmp_path):
    if kind == "file":
        (tmp_path / "lock.owner").write_text(json.dumps(_ENDED))
    code = """
import os, sys, time
from compad_jax.backend import ownership
ownership._POLL_SECONDS = 0.01
if sys.argv[2] == "file":
    ownership.fcntl = None
for _ in range(10):
    with ownership.owned(sys.argv[1], "it", wait=True):
        mark = os.open(sys.argv[1] + ".inside", os.O_CREAT | os.O_EXCL)  # Fails if two are inside.
        time.sleep(0.02)
        os.unlink(sys.argv[1] + ".inside")
"""
    command = [sys.executable, "-c", code, path, kind]
    processes = [subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    path = str(tmp_path / "nowhere" / "lock")
    with pytest.raises(FileNotFoundError) as error, owned(path, "it"):
        raise AssertionError("inside")
    assert error.value.filename == path
