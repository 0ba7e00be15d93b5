"""Results files, numbers for people, and regressions: all without a clock."""

import copy
import json

import pytest

from benchmarks import bench, tables
from compad_jax.config.checks import ConfigError

_RESULTS = "results/bench/cpu.json"


@pytest.fixture
def results():
    return tables.read_results(_RESULTS)


def test_results_survive_a_file(results, tmp_path):
    path = str(tmp_path / "results.json")
    tables.write_results(results, path)
    assert tables.read_results(path) == results


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "not a results file"),
        ('{"format": 1}', "not a results file"),
    ],
)
def test_unusable_results(tmp_path, content, message):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        tables.read_results(str(path))


def test_headlines_leave_out_variants(results):
    measured = results["suites"]["train"]["measurements"]
    measured["original/new step without dropout"] = measured["step"]
    lines = tables.BLOCKS["headline"](results)
    assert "| train: original/new step |" in lines
    assert "| train: step |" in lines
    assert "without dropout" not in lines
    assert "without dropout" in tables.BLOCKS["summary"](results)


def test_numbers_for_people():
    value = {"median": 149.4e9, "low": 138e9, "high": 160.6e9}
    assert tables.quantity(value, "flop/s") == "149 [138, 161] Gflop/s"
    value = {"median": 1234567.0, "low": 1.0, "high": 2.0}
    assert tables.quantity(value, "steps/s") == "1,234,567 [1, 2] steps/s"
    assert tables.percent({"median": 0.3555, "low": 0.3, "high": 0.4}) == "35.5% [30, 40]"


def _with_share(results, median, low, high):
    changed = copy.deepcopy(results)
    step = changed["suites"]["train"]["measurements"]["step"]
    step["shares"]["matmul_large"] = {"median": median, "low": low, "high": high}
    return changed


@pytest.mark.parametrize(
    ("now", "fell"),
    [
        ((0.40, 0.40, 0.40), False),
        ((0.37, 0.37, 0.37), False),  # Within the tolerance of a tenth.
        ((0.35, 0.35, 0.35), True),
        ((0.35, 0.33, 0.37), False),  # Its quartiles explain the rest.
        ((0.30, 0.28, 0.32), True),
        ((0.80, 0.80, 0.80), False),
    ],
)
def test_a_ratio_may_not_fall(results, now, fell):
    old, new = _with_share(results, 0.4, 0.4, 0.4), _with_share(results, *now)
    found = [name for name, row in tables.compare(old, new).items() if row[""] == "FELL"]
    assert found == (["train: step, share of large matrix product"] if fell else [])


def test_a_slow_machine_is_no_regression(results):
    slower = copy.deepcopy(results)
    for part in slower["suites"].values():
        for facts in part["measurements"].values():
            for key in ("median", "low", "high"):
                facts["seconds"][key] *= 3
                facts["rate"][key] /= 3
    assert all(row[""] == "ok" for row in tables.compare(results, slower).values())


def test_ratios_are_better_when_higher(results):
    found = tables.ratios(results)
    long = results["suites"]["act"]["measurements"]["long rollout"]["late_to_early"]["median"]
    assert found["act: long rollout, early over late step"].median == pytest.approx(1 / long)
    assert 0 < found["start-up: bare over cold"].median < 1


def test_nothing_to_compare(results):
    with pytest.raises(ConfigError, match="no measurement in common"):
        tables.compare(results, {"suites": {}})


def test_exit_codes_and_notes(results, capsys):
    worse = _with_share(results, 0.01, 0.01, 0.01) | {"hardware": "another"}
    latents = results["settings"]["model"]["n_latent"]
    worse["settings"]["model"]["n_latent"] = latents + 1
    assert bench.judge(results, results) == 0
    assert "0 of" in capsys.readouterr().out
    assert bench.judge(results, worse) == 1
    said = capsys.readouterr().out
    assert "FELL" in said
    assert "note: hardware: then" in said
    assert f"note: settings, model.n_latent: then {latents}, now {latents + 1}" in said


def test_results_hold_only_finite_numbers():
    with open(_RESULTS, encoding="utf-8") as file:
        json.load(file, parse_constant=lambda name: pytest.fail(f"holds {name}"))


@pytest.mark.parametrize(("against", "code"), [(0.4, 0), (0.9, 1)])
def test_the_command_writes_prints_and_judges(
    results, against, code, tmp_path, monkeypatch, capsys
):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    tables.write_results(_with_share(results, against, against, against), str(old))
    now = _with_share(results, 0.4, 0.4, 0.4)
    monkeypatch.setattr(bench, "measure", lambda suite, path: now)
    monkeypatch.setattr(bench.process, "configure", lambda *_, **__: None)
    monkeypatch.setattr(bench.jax.config, "update", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["bench", "--json", str(new), "--against", str(old)])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert stopped.value.code == code
    assert tables.read_results(str(new)) == now
    said = capsys.readouterr().out
    assert tables.BLOCKS["summary"](now) in said
    assert tables.BLOCKS["startup"](now) in said
    assert f"{code} of" in said
