"""The benchmark from end to end, on a tiny scale: nothing here depends on how fast it was."""

import subprocess
import sys

import pytest

from benchmarks import bench, startup, suites, tables
from benchmarks.suites import Scale
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import load_config
from tests.builders import override

_TINY = Scale(
    repeats=1,
    environments=8,
    long_environments=8,
    long_steps=800,
    window_lengths=(60, 120),
    matmul_size=16,
    copy_bytes=4096,
    original="",
    ppo="",
)


@pytest.fixture(scope="module")
def results():
    starts = {
        kind: {"median": 1.0, "low": 1.0, "high": 1.0, "phases": {}} for kind in startup.KINDS
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "bench_startup", lambda path: starts)
        return bench.measure("all", "configs/debug.py", _TINY)


@pytest.mark.slow
def test_every_measurement_says_what_it_is(results):
    found = {name: list(p["measurements"]) for name, p in results["suites"].items()}
    assert found == {
        "train": ["step"],
        "long": ["windows of 60", "windows of 120"],
        "act": ["rollout", "long rollout"],
        "collect": ["mbie_eb"],
    }
    for part in results["suites"].values():
        for facts in part["measurements"].values():
            assert 0 < facts["rate"]["low"] <= facts["rate"]["median"] <= facts["rate"]["high"]
            assert facts["compile_seconds"] >= 0
            assert facts["shares"]
            assert facts["shares"].keys() <= part["ceilings"].keys()


@pytest.mark.slow
def test_items_are_what_a_call_gets_done(results):
    items = {
        name: facts["items"]
        for part in results["suites"].values()
        for name, facts in part["measurements"].items()
    }
    # Two steps of 8 windows: two compressions of 6 to 10 tokens, then 6 to 12.
    assert items["step"] == 2 * 8 * (8 + 8 + 9)
    assert items["rollout"] == 8 * 4 * 10
    assert items["long rollout"] == 800
    assert (items["windows of 60"], items["windows of 120"]) == (8 * 60, 8 * 120)
    assert items["mbie_eb"] == 25 * 4 * 60
    late = results["suites"]["act"]["measurements"]["long rollout"]["late_to_early"]
    assert late["median"] > 0


@pytest.mark.slow
def test_a_share_is_a_rate_over_a_ceiling(results):
    """Steps a second over those of the environments alone, from the numbers in the file."""
    part = results["suites"]["collect"]
    facts, limit = part["measurements"]["mbie_eb"], part["ceilings"]["environment"]
    share = facts["items"] / facts["seconds"]["median"] / limit["rate"]["median"]
    assert facts["shares"]["environment"]["median"] == pytest.approx(share)
    assert limit["unit"] == "environment steps/s"


@pytest.mark.slow
def test_results_make_tables_and_equal_themselves(results, tmp_path):
    path = str(tmp_path / "new" / "tiny.json")
    bench.check_writable(path)
    tables.write_results(results, path)
    assert tables.read_results(path) == results
    assert all(block(results).strip() for block in tables.BLOCKS.values())
    assert all(row[""] == "ok" for row in tables.compare(results, results).values())


def test_the_originals_step_has_quick_histories_and_its_own_shapes():
    config = load_config("configs/debug.py", ("data.dir=somewhere",))
    measurements = suites.SUITES["train"](config, Scale())
    variants = ("with all windows at once", "without dropout", "of equal windows")
    whats = ("", *(f" {what}" for what in variants), " without dropout, of equal windows")
    assert list(measurements) == ["step", *(f"original/new step{what}" for what in whats)]
    steps = [measure.args[0] for measure in list(measurements.values())[1:]]
    assert [step.model.tf_dropout for step in steps] == [0.2, 0.2, 0, 0.2, 0]
    assert [step.train.micro_batch_size for step in steps] == [0, 256, 0, 0, 0]
    assert [step.data.min_compress_length for step in steps] == [20, 20, 20, 40, 40]
    several = suites.steps_a_call(config, 3)
    assert (several.train.log_every, several.train.train_timesteps) == (3, 42)


def test_a_start_takes_a_step(debug_config, tmp_path):
    config = override(debug_config, data={"dir": str(tmp_path / "histories")})
    seconds = startup.first_step(config)
    assert sorted(seconds) == ["collect", "compile", "start", "step"]
    assert (tmp_path / "histories").is_dir()


def test_a_warm_start_finds_what_the_cold_one_left(monkeypatch):
    starts = []

    def start(command, directory):
        starts.append((command[1], directory))
        return float(len(starts)), {"step": float(len(starts))}

    monkeypatch.setattr(startup, "_start", start)
    facts = startup.bench_startup("configs/debug.py", num_starts=3)
    assert [kind for kind, _ in starts] == ["-c", "-m", "-m"] * 3
    directories = [directory for _, directory in starts]
    assert [directories.count(one) for one in dict.fromkeys(directories)] == [3, 3, 3]
    # Starts 1 4 7, 2 5 8 and 3 6 9: the phases are those of the start in the middle.
    assert [facts[kind]["median"] for kind in startup.KINDS] == [4, 5, 6]
    assert facts["warm"]["phases"] == {"step": 6.0}
    assert facts["bare_share_of_warm"]["median"] == pytest.approx(4 / 6)


def test_a_start_that_fails_says_why(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no histories')"]
    with pytest.raises(ConfigError, match=r"^start-up: no histories$"):
        startup._start(command, str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "nothing"), "invalid choice: 'nothing'"),
        (("--suite", "train", "--config", "nowhere.py"), "nowhere.py: no such file"),
        (("--against", "nowhere.json"), "nowhere.json: No such file"),
        (("--suite", "train", "--json", "README.md/x.json"), "--json README.md/x.json:"),
    ],
)
def test_bad_arguments_end_with_one_line_and_code_2(arguments, message):
    command = [sys.executable, "-m", "benchmarks.bench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
