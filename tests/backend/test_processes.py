"""Several processes on this machine: what they tell each other, and how they end."""

import json
import signal
import time

import jax
import pytest

from compad_jax.backend import launch, processes
from compad_jax.config.checks import ConfigError
from compad_jax.config.membership import Membership, take_membership
from tests.process_groups import Group

_SLOW, _MORE = pytest.mark.slow, pytest.mark.exhaustive
_TALK = """
import json, os, sys, time
import jax, numpy as np
from compad_jax.backend import launch, processes, sharding
from compad_jax.config.checks import ConfigError
from compad_jax.config.membership import Membership, take_membership

def talk():
    i = processes.index()
    seen = {"count": processes.count(), "devices": [jax.local_device_count(), jax.device_count()]}
    seen["said"] = processes.exchange("numbers", [i, "x" * i])
    with processes.primary_first("a file"):
        seen["there"] = os.path.exists("file")
        open("file", "w").close()
    mesh = sharding.make_mesh()
    agree = processes.Agreement(mesh)
    seen["agreed"] = [agree(n) for n in ([0, 0, 0, 0], [0, 15, 0, 0])[i]]
    rows = np.arange(12).reshape(4, 3)
    placed = sharding.place(rows, sharding.split_batch(mesh))
    seen["own"] = sum(x.data.size for x in placed.addressable_shards)
    seen["fetched"] = [sharding.fetch(placed).tolist(), sharding.fetch(rows.sum()).tolist()]
    seen["rows"] = sharding.fetch_rows(placed, np.array([3, 0])).tolist()
    print("only process 0")
    with open(f"seen{i}", "w") as file:
        json.dump(seen, file)

def fail():
    if processes.index() == 1:
        raise ConfigError("something is wrong")
    processes.barrier("never reached")

def fail_alike():
    processes.barrier("all are here")
    raise ConfigError("something is wrong")

def crash():
    if processes.index() == 0:
        raise ValueError("a mistake")
    time.sleep(500)

def wait():
    open(f"waits{processes.index()}", "w").close()
    processes.barrier("never reached" * processes.index())

membership, (name,) = take_membership(sys.argv[1:])
launch.join(membership)
launch.end_together(globals()[name])
print("ended")
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(_TALK)
    return path


@pytest.mark.timeout(300)
def test_two_processes_share_what_they_know(program, tmp_path):
    group = Group([program, "talk"], 2, tmp_path, devices=2)
    assert group.wait() == [0, 0], group.outputs(1)
    assert group.outputs(0) == [["only process 0", "ended"], []]
    rows = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    for i in range(2):
        assert json.loads((tmp_path / f"seen{i}").read_text()) == {
            "count": 2,
            "devices": [2, 4],
            "said": [[0, ""], [1, "x"]],
            "there": bool(i),
            "agreed": [0, 0, 15, 0],  # One call later, on both.
            "own": 6,
            "fetched": [rows, 66],
            "rows": [rows[3], rows[0]],
        }


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "code", "line"),
    [
        pytest.param("fail", 2, "error: something is wrong", marks=_SLOW),
        pytest.param("fail_alike", 2, "error: something is wrong", marks=_MORE),
        pytest.param("crash", 1, "ValueError: a mistake", marks=_MORE),
    ],
)
def test_where_one_fails_all_end_and_one_says_why(program, tmp_path, name, code, line):
    group = Group([program, name], 2, tmp_path)
    assert group.wait(120) == [code, code]
    said = [x for lines in group.outputs(1) for x in lines if x == line]
    assert said == [line]
    if name != "crash":
        assert [x for lines in group.outputs(1) for x in lines] == [line]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("own", ["0", "1"])
def test_those_who_do_not_come_are_not_waited_for_for_ever(program, tmp_path, own):
    flags = ["--coordinator=127.0.0.1:19999", "--num_processes=2", f"--process_id={own}"]
    group = Group([program, "talk", *flags, "--initialization_timeout=2"], 1, tmp_path)
    assert group.wait(100) == [1]
    (line,) = group.outputs(1)[0]
    assert line.startswith(f"error: process {own} of 2: the coordinator 127.0.0.1:")
    assert line.endswith("or a process did not come in 2 s")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--coordinator=host:1234", "named by all of --coordinator"),
        ("--coordinator=host:1234 --num_processes=2", "named by all of --coordinator"),
        ("--process_id=0", "named by all of --coordinator"),
        ("--num_processes=2", "named by all of --coordinator"),
        ("--num_processes=0", "--num_processes=0: must be at least 1"),
        ("--num_processes=two", "--num_processes: invalid int value: 'two'"),
        ("--coordinator=host --num_processes=2 --process_id=0", "must be HOST:PORT"),
        ("--coordinator=:1234 --num_processes=2 --process_id=0", "must be HOST:PORT"),
        ("--coordinator=host:99999 --num_processes=2 --process_id=0", "must be HOST:PORT"),
        ("--coordinator=host:1 --num_processes=2 --process_id=2", "--process_id=2: must be"),
        ("--coordinator=host:1 --num_processes=2 --process_id=-1", "--process_id=-1: must be"),
        ("--initialization_timeout=0", "--initialization_timeout=0: must be above 0"),
        ("--coordinator", "--coordinator: expected one argument"),
    ],
)
def test_wrong_flags_are_one_line(flags, message):
    with pytest.raises(ConfigError, match=message) as error:
        take_membership(flags.split())
    assert "\n" not in str(error.value)


def test_flags_of_the_program_stay():
    words = "--config x.py --num_processes 2 --config.train.seed=3 --process_id=1 --compare a b"
    membership, rest = take_membership([*words.split(), "--coordinator", "h:1"])
    assert membership == Membership("h:1", 2, 1)
    assert rest == ["--config", "x.py", "--config.train.seed=3", "--compare", "a", "b"]


def _pretend_slurm(monkeypatch, number):
    variables = {
        "SLURM_JOB_ID": "4096",
        "SLURM_STEP_NODELIST": "node[07-08]",
        "SLURM_NTASKS": str(number),
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "0",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_cluster_is_found_as_jax_finds_it(monkeypatch):
    _pretend_slurm(monkeypatch, 2)
    joined = []
    monkeypatch.setattr(launch, "_connect", lambda found, timeout: joined.append(found))
    monkeypatch.setattr(processes, "is_primary", lambda: True)
    launch.join(Membership())
    assert joined == [("node07:61440", 2, 1, [0])]


@pytest.mark.parametrize("flags", [[], ["--num_processes=1"]])
def test_one_process_joins_nobody(monkeypatch, flags):
    """And keeps all its devices, also where Slurm started it."""
    _pretend_slurm(monkeypatch, 2 if flags else 1)
    launch.join(take_membership(flags)[0])
    assert not jax.distributed.is_initialized()
    assert processes.count() == 1
    assert processes.is_primary()
    assert processes.exchange("anything", 7) == [7]


def test_a_cluster_that_cannot_be_joined_is_one_line(monkeypatch):
    def detect(*_):
        raise RuntimeError("In K8s, only\nJobs")

    monkeypatch.setattr(launch.ClusterEnv, "auto_detect_unset_distributed_params", detect)
    with pytest.raises(ConfigError, match=r"In K8s, only Jobs; use --coordinator .* 1$"):
        launch.join(Membership())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "killed",
    [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.exhaustive)],
)
def test_a_killed_process_takes_the_others_along(program, tmp_path, killed):
    group = Group([program, "wait"], 2, tmp_path)
    while not all((tmp_path / f"waits{i}").exists() for i in range(2)):
        assert all(process.poll() is None for process in group.processes)
        time.sleep(0.1)
    group.processes[killed].send_signal(signal.SIGKILL)
    codes = group.wait(200)
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] != 0
