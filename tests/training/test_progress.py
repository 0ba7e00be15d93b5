"""What is on the clock of a training, and when a dispatch is waited for."""

import math
import types

import numpy as np
import pytest

from compad_jax.training import progress
from compad_jax.training.progress import Progress


class _Log(list):
    def write(self, step, metrics):
        self.append((step, metrics))


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until told otherwise."""
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def log():
    return _Log()


def _bar():
    ignore = lambda *_, **__: None  # noqa: E731
    return types.SimpleNamespace(n=0, set_postfix=ignore, update=ignore)


def _metrics(**changed):
    plain = {"loss": 1.0, "floor": 0.5, "accuracy": 0.5, "num_tokens": 100.0, "grad_norm": 1.0}
    return plain | changed


def test_measuring_is_off_the_clock(clock, log):
    def measure():
        clock.now += 1000
        return {"validation_loss": 0.7}

    shown = Progress(log, _bar(), steps_a_push=10)
    for step in (10, 20, 30):
        clock.now += 4
        shown.push(step, _metrics())
        if step == 20:
            clock.now += 4  # Dispatches are waited for one push later, or when measuring.
            assert shown.measure(measure)["validation_loss"] == 0.7
    clock.now += 2
    shown.flush()
    assert [step for step, _ in log] == [10, 20, 30]
    rates = [metrics["tokens_per_second"] for _, metrics in log]
    assert rates == pytest.approx([1000 / 8, 1000 / 8, 1000 / 2])
    assert [("validation_loss" in metrics) for _, metrics in log] == [False, True, False]


def test_the_bar_does_not_show_what_is_not_known(clock, log):
    bar, shown = _bar(), []
    bar.set_postfix = lambda values, **_: shown.append(set(values))
    progress_of = Progress(log, bar, steps_a_push=10)
    clock.now += 1
    progress_of.push(10, _metrics(floor=math.nan))
    progress_of.flush()
    assert shown == [{"loss", "accuracy", "tokens/s"}]


@pytest.mark.parametrize("name", ["loss", "grad_norm", "validation_loss"])
def test_what_is_not_finite_is_not_logged(clock, log, name):
    shown = Progress(log, _bar(), steps_a_push=10)
    clock.now += 1
    shown.push(10, _metrics())
    clock.now += 1
    shown.push(20, _metrics(**{name: float("nan")}))
    with pytest.raises(FloatingPointError, match=f"{name} is not finite at step 20; try a lower"):
        shown.flush()
    assert [step for step, _ in log] == [10]


def test_without_any_target_nothing_diverged(clock, log):
    shown = Progress(log, _bar(), steps_a_push=10)
    clock.now += 1
    shown.push(10, _metrics(loss=math.nan, depth_tokens=np.zeros(3)))
    shown.flush()
    assert [step for step, _ in log] == [10]
    shown.push(20, _metrics(loss=math.nan, depth_tokens=np.array([0.0, 1.0, 0.0])))
    with pytest.raises(FloatingPointError, match="loss is not finite at step 20"):
        shown.flush()
