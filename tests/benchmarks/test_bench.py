"""The benchmark from end to end, on a tiny scale: nothing here depends on how fast it was."""

import subprocess
import sys

import pytest

from benchmarks import bench, bench_compare, bench_report, bench_results
from benchmarks.bench_startup import first_step
from benchmarks.bench_suites import Scale
from benchmarks.bench_sweeps import act_axes, run_sweeps, train_axes
from compad_jax.config.checks import ConfigError
from tests.builders import override

_TINY = Scale(
    repeats=1,
    train_steps=1,
    environments=8,
    long_environments=8,
    long_steps=800,
    matmul_size=16,
    copy_bytes=4096,
    original_config="",
    ppo_config="",
    sweeps=False,
)


@pytest.fixture(scope="module")
def results():
    parts = [bench.run_suite(name, "configs/debug.py", _TINY) for name in bench._SUITES]
    suites = {name: part for p in parts for name, part in p["suites"].items()}
    return parts[0] | {"suites": suites}


def test_every_measurement_says_what_it_is(results):
    assert list(results["suites"]) == ["train", "act", "collect"]
    found = {name: list(p["measurements"]) for name, p in results["suites"].items()}
    assert found == {"train": ["step"], "act": ["rollout", "long rollout"], "collect": ["mbie_eb"]}
    for part in results["suites"].values():
        assert part["peak_memory"]["process"] > 2**20
        for facts in part["measurements"].values():
            assert 0 < facts["rate"]["low"] <= facts["rate"]["median"] <= facts["rate"]["high"]
            assert facts["compile_seconds"] > 0
            assert facts["shares"]
            assert facts["shares"].keys() <= part["ceilings"].keys()


def test_a_training_step_does_what_is_useful_and_more(results):
    facts = results["suites"]["train"]["measurements"]["step"]
    assert 8 * 18 <= facts["items"] <= 8 * 32  # Two compressions of 6 to 10, then 6 to 12.
    assert 0 < facts["useful_flops"] < facts["flops"]["executed"]
    assert facts["flops"]["loops_once"] < facts["flops"]["executed"]
    assert facts["program_bytes"] > 0


def test_the_long_rollout_is_as_long_as_asked(results):
    facts = results["suites"]["act"]["measurements"]["long rollout"]
    assert facts["steps"] == 800
    assert facts["seconds"]["calls"] == 10
    assert facts["late_to_early"]["median"] > 0


def test_results_make_tables_and_equal_themselves(results, tmp_path):
    path = str(tmp_path / "new" / "tiny.json")
    bench._prepare(path)
    bench._save(results, path)
    assert bench_results.read_results(path) == results
    for name, block in bench_report.BLOCKS.items():
        if name in ("startup", "sweeps"):
            with pytest.raises(KeyError):
                block(results)
        else:
            assert block(results).strip()
    assert not any(c.fell for c in bench_compare.compare(results, results))


def test_a_sweep_is_drawn(results, tmp_path, debug_config):
    (axis,) = act_axes(debug_config)
    sweeps = run_sweeps(debug_config, [axis._replace(value=lambda _: 8)])
    assert [point["x"] for point in sweeps["environments"]["points"]] == [8, 32]
    assert sweeps["environments"]["slope"] is not None
    results = results | {"suites": {"train": results["suites"]["train"] | {"sweeps": sweeps}}}
    bench._save(results, str(tmp_path / "tiny.json"))
    assert (tmp_path / "tiny.png").stat().st_size > 1000


def test_what_training_is_swept_over(debug_config):
    names = ["batch", "history", "latents", "width"]
    assert [axis.name for axis in train_axes(debug_config)] == names
    assert [axis.value(debug_config) for axis in train_axes(debug_config)] == [8, 2, 4, 16]
    whole = override(
        debug_config, data={"whole_history": True, "max_compress_length": 12}
    )  # Then the history's length says how long a window is.
    assert train_axes(whole)[1].value(whole) == 60
    ad = override(debug_config, model={"n_latent": 0})
    assert "latents" not in [axis.name for axis in train_axes(ad)]


def test_start_up_takes_a_step(debug_config, tmp_path):
    config = override(debug_config, data={"dir": str(tmp_path / "histories")})
    seconds = first_step(config)
    assert sorted(seconds) == ["collect", "compile", "start", "step"]
    assert (tmp_path / "histories").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "nothing"), "invalid choice: 'nothing'"),
        (("--suite", "train", "--config", "nowhere.py"), "nowhere.py: no such file"),
        (("--against", "nowhere.json"), "nowhere.json: No such file"),
        (("--report", "README.md"), "README.md: not JSON"),
        (("--suite", "train", "--json", "README.md/x.json"), "--json README.md/x.json:"),
        (("--tolerance", "much"), "invalid float value"),
    ],
)
def test_bad_arguments_end_with_one_line_and_code_2(arguments, message):
    command = [sys.executable, "-m", "benchmarks.bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_all_suites_run_apart_and_are_put_together(results, monkeypatch):
    def process(command, check):
        name, path = command[command.index("--suite") + 1], command[command.index("--json") + 1]
        bench_results.write_results(results | {"suites": {name: results["suites"][name]}}, path)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(bench.subprocess, "run", process)
    monkeypatch.setattr(bench, "bench_startup", lambda path: {"of": path})
    together = bench.run_all("configs/debug.py")
    assert together == results | {"startup": {"of": "configs/debug.py"}}
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(bench.subprocess, "run", lambda command, check: failed)
    with pytest.raises(ConfigError, match="--suite train: did not finish"):
        bench.run_all("configs/debug.py")
