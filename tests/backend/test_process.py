"""What a process sets up and what it says of itself."""

import json
import os
import platform
import subprocess
import sys
import time

import jax
import pytest

from compad_jax.backend import process, provenance, stopwatch


@pytest.fixture
def chosen(monkeypatch):
    """What `configure` tells JAX, on a machine of five cores without a quota."""
    settings = {}
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(process, "_user_chose_devices", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
    monkeypatch.setattr(process, "_cpu_quotas", lambda: [])
    monkeypatch.setattr(jax.config, "update", lambda name, value: settings.update({name: value}))
    return settings


@pytest.mark.parametrize(("batch_size", "devices"), [(24, 4), (18, 3), (7, 1), (2, 2)])
def test_cores_share_a_batch_evenly(chosen, batch_size, devices):
    process.configure(batch_size)
    assert chosen["jax_num_cpu_devices"] == devices


@pytest.mark.parametrize(("quota", "devices"), [(3.9, 3), (2.0, 2), (0.5, 1), (8.0, 4)])
def test_a_quota_counts_like_fewer_cores(chosen, monkeypatch, quota, devices):
    monkeypatch.setattr(process, "_cpu_quotas", lambda: [quota, 16.0])
    process.configure(12)
    assert chosen["jax_num_cpu_devices"] == devices


@pytest.mark.parametrize(
    ("groups", "files", "quotas"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, [1.5]),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, [2.0]),
        ("0::/gone", {"cpu.max": "400000 100000"}, [4.0]),
        (
            "4:memory:/m\n3:cpu,cpuacct:/x",
            {"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"},
            [0.5],
        ),
        ("3:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, []),
    ],
)
def test_quotas_of_both_versions_of_control_groups(tmp_path, groups, files, quotas):
    for name, text in ({"self": groups} | files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert list(process._cpu_quotas(str(tmp_path / "self"), str(tmp_path))) == quotas
    assert list(process._cpu_quotas(str(tmp_path / "no_such_file"), str(tmp_path))) == []


_COUNT = "import jax; from compad_jax.backend import process; process.configure(24);"


def _python(code, **variables):
    """What a program prints in a process of its own, with more environment variables."""
    plain = {name: x for name, x in os.environ.items() if name not in ("XLA_FLAGS",)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=plain | variables
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "variable",
    [
        {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"},
        {"JAX_NUM_CPU_DEVICES": "3"},
    ],
)
def test_a_users_number_of_devices_counts(variable):
    assert _python(f"{_COUNT} print(jax.device_count())", **variable) == "3"


_COLLECT = """
import hashlib, jax
from compad_jax.backend import process
from compad_jax.config.command_line import load_config
from compad_jax.histories.collection import collect
process.configure(8, quick_compile=True)
history = collect(load_config("configs/debug.py", ["source.num_steps=40"]))
digest = hashlib.sha256()
for leaf in jax.tree.leaves(history):
    digest.update(str(leaf.dtype).encode() + leaf.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.timeout(300)
def test_variables_of_the_environment_change_no_history():
    others = {
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_ENABLE_X64": "1",
        "JAX_RANDOM_SEED_OFFSET": "7",
    }
    assert _python(_COLLECT, **others) == _python(_COLLECT)


def test_hardware_names_devices_and_processor():
    text = provenance.describe_hardware()
    assert text.startswith(f"{jax.device_count()} x {jax.devices()[0].device_kind}, ")
    assert "\n" not in text
    assert len(text.split(", ", 1)[1]) > 2


def test_processor_where_there_is_no_cpuinfo(monkeypatch):
    def no_file(*arguments, **keywords):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_file)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert provenance.describe_hardware().endswith(f", {platform.machine()}")


def test_versions():
    versions = provenance.describe_versions()
    assert versions.keys() == {"jax", "jaxlib", "flax", "optax", "numpy", "python"}
    assert versions["jax"] == jax.__version__
    assert versions["python"] == platform.python_version()


def _git(*arguments):
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The current directory: a repository with one file."""
    monkeypatch.chdir(tmp_path)
    _git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    _git("add", "file")
    _git("commit", "--quiet", "--message", "first")
    return tmp_path


def test_commit_tells_a_changed_checkout(checkout):
    commit = _git("rev-parse", "--short", "HEAD")
    path = str(checkout / "file")
    assert provenance.describe_commit(path) == commit
    (checkout / "untracked").write_text("does not count")
    assert provenance.describe_commit(path) == commit
    (checkout / "file").write_text("two")
    assert provenance.describe_commit(path) == f"{commit}+changes"


def test_commit_is_that_of_the_package_wherever_it_runs(checkout):
    own = subprocess.run(
        ["git", "-C", os.path.dirname(provenance.__file__), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert provenance.describe_commit().removesuffix("+changes") == own.stdout.strip()


def test_a_package_in_somebody_elses_repository_has_no_commit(checkout):
    installed = checkout / "venv" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("not tracked")
    assert provenance.describe_commit(str(installed)) is None


def test_commit_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.describe_commit(str(tmp_path / "file")) is None


def test_commit_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.describe_commit() is None


def test_a_process_knows_its_age():
    code = (
        "import time; time.sleep(0.5); from compad_jax.backend import stopwatch;"
        "print(stopwatch.process_age())"
    )
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.45 < float(done.stdout) < time.monotonic() - begin + 0.05


def test_stopwatch_writes_phases_and_where_they_were_measured(tmp_path, monkeypatch):
    clock = iter([9.5, 10.0, 12.26, 20.0, 20.5, 21.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(stopwatch, "process_age", lambda: 1.5)
    watch, path = stopwatch.Stopwatch(), tmp_path / "timing.json"
    with watch.phase("train"):
        pass
    with pytest.raises(KeyboardInterrupt), watch.phase("evaluate"):
        raise KeyboardInterrupt  # What an interrupted phase took counts, too.
    watch.save(str(path))
    facts = json.loads(path.read_text())
    assert facts["seconds"] == {"start": 1.5, "train": 2.3, "evaluate": 0.5}
    assert (facts["total_seconds"], facts["processes"]) == (13.0, 1)
    assert 0.01 < facts["peak_memory_gib"] < 1000
    assert facts["hardware"] == provenance.describe_hardware()
    assert facts["versions"]["jax"] == jax.__version__


def test_stopwatch_adds_to_what_earlier_processes_took(tmp_path, monkeypatch):
    path = tmp_path / "timing.json"
    first, second = stopwatch.Stopwatch(), stopwatch.Stopwatch()
    first.seconds = {"start": 1.0, "train": 40.0, "evaluate": 5.0}
    second.seconds = {"start": 2.0, "evaluate": 6.0, "report": 1.0}
    monkeypatch.setattr(time, "monotonic", lambda: first._begin + 50)
    first.save(str(path))
    second._begin = first._begin + 40
    second.save(str(path))
    facts = json.loads(path.read_text())
    assert facts["seconds"] == {"start": 3.0, "train": 40.0, "evaluate": 11.0, "report": 1.0}
    assert (facts["total_seconds"], facts["processes"]) == (60.0, 2)


def test_stopwatch_says_that_a_killed_process_is_not_counted(tmp_path):
    path = str(tmp_path / "timing.json")

    def counts():
        facts = json.loads((tmp_path / "timing.json").read_text())
        return facts["processes"], facts["processes_not_counted"]

    stopwatch.Stopwatch().save(path, is_last=False)  # And then it is killed.
    assert counts() == (0, 1)
    second = stopwatch.Stopwatch()
    second.save(path, is_last=False)
    assert counts() == (0, 2)
    second.save(path)
    assert counts() == (1, 1)
    stopwatch.Stopwatch().save(path)
    assert counts() == (2, 1)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff\xfe", b"3", b"[]", b"{}", b'{"seconds": 3}'),
        b'{"seconds": {"train": "x"}, "total_seconds": 1, "peak_memory_gib": 1}',
        b'{"seconds": {}, "total_seconds": 1, "peak_memory_gib": 1, "processes": "2"}',
    ],
)
def test_stopwatch_counts_anew_where_the_file_is_bad(tmp_path, caplog, content):
    path = tmp_path / "timing.json"
    path.write_bytes(content)
    stopwatch.Stopwatch().save(str(path))
    assert json.loads(path.read_text())["processes"] == 1
    (record,) = caplog.records
    assert record.getMessage().startswith(str(path))
    assert record.getMessage().endswith("; its seconds are lost, and counted anew")


@pytest.mark.parametrize("quick", [True, False])
def test_flags_of_the_compiler(monkeypatch, quick):
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=1")
    process.configure(1, quick_compile=quick)
    flags = os.environ["XLA_FLAGS"].split()
    assert flags[-1] == "--xla_backend_optimization_level=1"  # The user's, last: it counts.
    assert ("--xla_backend_optimization_level=0" in flags) == quick
    assert "--xla_backend_extra_options=xla_cpu_disable_loop_unrolling=true" in flags


@pytest.mark.parametrize(
    "options", [process.plain_compile_options(), process.quick_compile_options()]
)
def test_the_compiler_knows_its_options(options):
    """An unknown one would be an error."""
    assert options["xla_cpu_use_fusion_emitters"] is False
    assert jax.jit(lambda x: x + len(options), compiler_options=options)(1) == 1 + len(options)


def test_the_compiler_knows_its_flags():
    """An unknown one would end the process."""
    code = (
        "import os; from compad_jax.backend import process;"
        "process.configure(2, quick_compile=True);"
        "import jax; print(jax.jit(lambda x: x + 1)(1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "2", done.stderr


def test_compiler_options_that_this_version_lacks_are_left_out():
    assert process._is_known("xla_backend_optimization_level", 0)
    assert not process._is_known("xla_no_such_option", True)
    assert set(process.plain_compile_options(xla_no_such_option=True)) <= {
        "xla_cpu_use_fusion_emitters"
    }
