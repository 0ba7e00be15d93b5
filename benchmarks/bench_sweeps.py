"""Sweeps: what an item costs as one setting grows, and the slope of that on log axes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from benchmarks.bench_measure import Facts, Spread, say, spread, time_calls
from benchmarks.bench_programs import (
    Job,
    act_job,
    random_dataset,
    steps_a_call,
    train_job,
    vary,
)
from compad_jax.config import Config

_CALLS, _STREAMS = 5, 8


class Axis(NamedTuple):
    """A setting to vary."""

    name: str
    label: str  # Of the x axis.
    item: str  # Whose cost is measured.
    value: Callable[[Config], int]  # Of the config.
    job: Callable[[Config, int], Job]  # With the setting at a value.


def sweep(config: Config, axis: Axis, factors: Sequence[float], own: Spread | None = None) -> Facts:
    """Measures an item's cost at several values of a setting.

    Args:
        config: where the setting starts from.
        axis: the setting.
        factors: of the config's own value; values the devices cannot share are left out.
        own: the cost at the config's own value, if it is known already.

    Returns:
        Label, item, points (x, seconds an item with quartiles) and slope; None for the
        slope where fewer than two points are left.
    """
    known = {axis.value(config): own} if own else {}
    values = sorted({max(1, round(axis.value(config) * factor)) for factor in factors} | {*known})
    if axis.name in ("batch", "environments"):
        values = [x for x in values if x % jax.device_count() == 0]
    say(f"sweep: {axis.name}, {values}")
    costs = [known.get(x) or cost(axis.job(config, x)) for x in values]
    points = [{"x": x, "seconds": c._asdict()} for x, c in zip(values, costs, strict=True)]
    slope = log_slope(values, [c.median for c in costs])
    return {"label": axis.label, "item": axis.item, "points": points, "slope": slope}


def cost(job: Job) -> Spread:
    """Seconds an item."""
    return spread([seconds / job.items for seconds in time_calls(job.call, _CALLS)])


def log_slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Exponent p of the least-squares fit y = c x^p in logarithms; None below two points."""
    if len(x) < 2:
        return None
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _train(config: Config) -> Job:
    """One step a call, of few histories; with AdamW, which compiles sooner than Muon."""
    config = vary(config, optimizer__name="adamw", source__num_streams=_STREAMS)
    config = steps_a_call(config, 1)
    return train_job(config, random_dataset(config))


def _with_width(config: Config, x: int) -> Job:
    wide = config.model.tf_dim_feedforward * x // config.model.tf_n_embd
    return _train(vary(config, model__tf_n_embd=x, model__tf_dim_feedforward=wide))


def train_axes(config: Config) -> tuple[Axis, ...]:
    """What the training step is swept over; latents only where there are any."""
    token, latents = "supervised token", config.model.n_latent
    axes = [
        Axis(
            "batch",
            "Windows of a batch",
            token,
            lambda config: config.train.train_batch_size,
            lambda config, x: _train(vary(config, train__train_batch_size=x)),
        ),
        _window_axis(config, token),
        Axis(
            "latents",
            "Latents",
            token,
            lambda config: config.model.n_latent,
            lambda config, x: _train(vary(config, model__n_latent=x)),
        ),
        Axis("width", "Width", token, lambda config: config.model.tf_n_embd, _with_width),
    ]
    return tuple(axis for axis in axes if latents or axis.name != "latents")


def _window_axis(config: Config, item: str) -> Axis:
    """The length of a window: of the whole history, or by the number of compressions."""
    if config.data.whole_history:
        return Axis(
            "history",
            "Steps of a history",
            item,
            lambda config: config.source.num_steps,
            lambda config, x: _train(vary(config, source__num_steps=x)),
        )
    return Axis(
        "history",
        "Compressions in a window",
        item,
        lambda config: config.data.max_compression_depth,
        lambda config, x: _train(vary(config, data__max_compression_depth=x)),
    )


def act_axes(_: Config) -> tuple[Axis, ...]:
    """What acting is swept over."""
    environments = Axis(
        "environments",
        "Environments",
        "environment step",
        lambda _: 512,
        lambda config, x: act_job(config, x, num_episodes=1),
    )
    return (environments,)


_FACTORS = {
    "batch": (0.25, 2.0),
    "history": (0.25, 2.0),
    "latents": (0.5, 4.0),
    "width": (0.5, 2.0),
    "environments": (1 / 16, 1 / 4, 4.0),
}


def run_sweeps(config: Config, axes: Sequence[Axis]) -> dict[str, Facts]:
    """All sweeps of a suite; the config itself, a point of each, is measured once."""
    if not axes:
        return {}
    own = cost(axes[0].job(config, axes[0].value(config)))
    return {axis.name: sweep(config, axis, _FACTORS[axis.name], own) for axis in axes}
