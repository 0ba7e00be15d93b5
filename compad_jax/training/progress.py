"""What a training shows and logs while it runs."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from compad_jax.training.metrics_log import MetricsLogger

_FINITE = ("loss", "grad_norm", "validation_loss")  # In a training that did not diverge.


def require_finite(step: int, what: str, *values: Any) -> None:
    """Raises a FloatingPointError, with advice, unless all numbers are finite."""
    if not all(np.isfinite(value).all() for value in values):
        raise FloatingPointError(
            f"the training diverged: {what} is not finite at step {step}; try a lower "
            "--config.optimizer.lr: the same --workdir goes on from its last checkpoint"
        )


class Progress:
    """Shows and logs the metrics of one dispatch while the next one runs."""

    def __init__(self, logger: MetricsLogger, bar: Any, steps_a_push: int) -> None:
        """The log file, the bar on the screen, and the training steps of a dispatch."""
        self._logger, self._bar, self._steps_a_push = logger, bar, steps_a_push
        self._pending: tuple[int, dict[str, jax.Array]] | None = None
        self._time = time.monotonic()

    def push(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of a dispatch that may not have finished yet."""
        self.flush()
        self._pending = (step, metrics)

    def measure(self, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Adds to the pending metrics what takes time of its own, and returns them."""
        assert self._pending is not None
        step, metrics = self._pending[0], jax.device_get(self._pending[1])
        begin = time.monotonic()
        metrics |= measure()
        self._time += time.monotonic() - begin
        self._pending = (step, metrics)
        return metrics

    def flush(self) -> None:
        """Waits for the pending metrics and logs them; raises if they are not finite."""
        if self._pending is None:
            return
        step, metrics = self._pending[0], jax.device_get(self._pending[1])
        self._pending = None
        has_targets = np.any(metrics.get("depth_tokens", 1))  # Without any there is no loss.
        for name in _FINITE if has_targets else ():
            require_finite(step, name, metrics.get(name, 0.0))
        now = time.monotonic()
        tokens_per_second = metrics["num_tokens"] * self._steps_a_push / (now - self._time)
        self._time = now
        self._logger.write(step, metrics | {"tokens_per_second": tokens_per_second})
        shown = {
            name: f"{metrics[name]:.3f}"
            for name in ("loss", "floor", "accuracy")
            if np.isfinite(metrics[name])  # A floor may not be known.
        }
        self._bar.set_postfix(shown | {"tokens/s": f"{tokens_per_second:,.0f}"}, refresh=False)
        self._bar.update(step - self._bar.n)
