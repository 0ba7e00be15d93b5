"""What a process sets up and what it says of itself."""

import ctypes
import json
import os
import platform
import subprocess
import sys
import time

import jax
import pytest

from compad_jax.backend import process, provenance, stopwatch


def test_freed_memory_is_kept(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    process._keep_freed_memory()
    assert dict(calls) == {-3: 2**30, -1: 2**31 - 1}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD.


def _no_library(name):
    raise OSError("no such library")


@pytest.mark.parametrize("library", [_no_library, lambda name: object()])
def test_nothing_happens_without_glibc(monkeypatch, library):
    monkeypatch.setattr(ctypes, "CDLL", library)
    process._keep_freed_memory()


@pytest.mark.parametrize(("batch_size", "devices"), [(24, 4), (18, 3), (7, 1), (2, 2)])
def test_cores_share_a_batch_evenly(monkeypatch, batch_size, devices):
    chosen = {}
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)))
    monkeypatch.setattr(jax.config, "update", lambda name, value: chosen.update({name: value}))
    process.configure(batch_size)
    assert chosen["jax_num_cpu_devices"] == devices


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


def test_commit_tells_a_changed_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    _git("add", "file")
    _git("commit", "--quiet", "--message", "first")
    commit = _git("rev-parse", "--short", "HEAD")
    assert provenance.describe_commit() == commit
    (tmp_path / "untracked").write_text("does not count")
    assert provenance.describe_commit() == commit
    (tmp_path / "file").write_text("two")
    assert provenance.describe_commit() == f"{commit}+changes"


def test_commit_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.describe_commit() is None


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
    assert facts["total_seconds"] == 13.0
    assert 0.01 < facts["peak_memory_gib"] < 1000
    assert facts["hardware"] == provenance.describe_hardware()
    assert facts["versions"]["jax"] == jax.__version__


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
