"""Spreads, slopes, results files and regressions: all without a clock."""

import copy
import json

import numpy as np
import pytest

from benchmarks import bench, bench_compare, bench_report, bench_results
from benchmarks.bench_measure import Spread, rate, share, spread
from benchmarks.bench_sweeps import Axis, log_slope, sweep
from compad_jax.config.checks import ConfigError

_RESULTS = "results/bench/cpu.json"


def test_spread_rate_and_share_by_hand():
    took = spread([4.0, 1.0, 2.0, 3.0, 5.0])
    assert took == Spread(3.0, 2.0, 4.0)
    assert rate(12.0, took) == Spread(4.0, 3.0, 6.0)
    # A tenth of spread in the part, none in the whole; then both.
    assert share(Spread(10.0, 9.0, 12.0), Spread(20.0, 20.0, 20.0)) == pytest.approx(
        (0.5, 0.45, 0.6)
    )
    both = share(Spread(10.0, 7.0, 13.0), Spread(20.0, 12.0, 28.0))
    assert both == pytest.approx((0.5, 0.25, 0.75))  # hypot(0.3, 0.4) = 0.5.


def test_slope_of_a_power_law():
    x = np.array([2.0, 8.0, 32.0])
    assert log_slope(x, 3 * x**-0.5) == pytest.approx(-0.5)
    assert log_slope([1.0], [1.0]) is None


def test_a_sweep_measures_what_the_devices_can_share(debug_config, monkeypatch):
    monkeypatch.setattr("benchmarks.bench_sweeps.cost", lambda x: Spread(*[x**-1.0] * 3))
    axis = Axis("batch", "Windows", "token", lambda _: 16, lambda _, x: x)
    facts = sweep(debug_config, axis, (0.25, 0.5, 2.0), Spread(1 / 16, 1 / 16, 1 / 16))
    assert [point["x"] for point in facts["points"]] == [8, 16, 32]  # Not 4: 8 devices.
    assert facts["slope"] == pytest.approx(-1.0)


@pytest.fixture
def results():
    return bench_results.read_results(_RESULTS)


def test_results_survive_a_file(results, tmp_path):
    path = str(tmp_path / "results.json")
    bench_results.write_results(results, path)
    assert bench_results.read_results(path) == results


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "not a results file"),
        ('{"format": 0}', "not a results file"),
    ],
)
def test_unusable_results(tmp_path, content, message):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        bench_results.read_results(str(path))


def test_numbers_for_people():
    assert bench_report.number(14.93e9) == "14.9 G"
    value = {"median": 149.4e9, "low": 138e9, "high": 160.6e9}
    assert bench_report.quantity(value, "flop/s") == "149 [138, 161] Gflop/s"
    value = {"median": 1234567.0, "low": 1.0, "high": 2.0}
    assert bench_report.quantity(value, "steps/s") == "1,234,567 [1, 2] steps/s"
    assert bench_report.percent({"median": 0.3555, "low": 0.3, "high": 0.4}) == "35.5% [30, 40]"


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
    found = [c.name for c in bench_compare.compare(old, new, 0.1) if c.fell]
    assert found == (["train: step, share of large matrix product"] if fell else [])


def test_a_slow_machine_is_no_regression(results):
    slower = copy.deepcopy(results)
    for part in slower["suites"].values():
        for facts in part["measurements"].values():
            for key in ("median", "low", "high"):
                facts["seconds"][key] *= 3
                facts["rate"][key] /= 3
    assert not any(c.fell for c in bench_compare.compare(results, slower))


def test_ratios_are_better_when_higher(results):
    found = bench_compare.ratios(results)
    long = results["suites"]["act"]["measurements"]["long rollout"]["late_to_early"]["median"]
    assert found["act: long rollout, early over late step"].median == pytest.approx(1 / long)
    assert 0 < found["train: step, useful share of operations"].median < 1
    assert {"start-up: bare over cold", "start-up: bare over warm"} <= found.keys()


def test_nothing_to_compare(results):
    with pytest.raises(ConfigError, match="no measurement in common"):
        bench_compare.compare(results, {"suites": {}})


def test_exit_codes_and_notes(results, capsys):
    worse = _with_share(results, 0.01, 0.01, 0.01) | {"hardware": "another"}
    latents = results["settings"]["model"]["n_latent"]
    worse["settings"]["model"]["n_latent"] = latents + 1
    assert bench._judge(results, results, 0.1) == 0
    assert "0 of" in capsys.readouterr().out
    assert bench._judge(results, worse, 0.1) == 1
    said = capsys.readouterr().out
    assert "FELL" in said
    assert "note: hardware: then" in said
    assert f"note: settings, model.n_latent: then {latents}, now {latents + 1}" in said


def test_results_hold_only_finite_numbers():
    with open(_RESULTS, encoding="utf-8") as file:
        json.load(file, parse_constant=lambda name: pytest.fail(f"holds {name}"))
