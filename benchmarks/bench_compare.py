"""Has anything become slower? Compares ratios measured in one run each, never seconds."""

import math
from typing import NamedTuple

from benchmarks.bench_measure import Facts, Spread
from benchmarks.bench_report import CEILINGS
from compad_jax.config.checks import ConfigError, differences
from compad_jax.reports.tables import markdown_table

TOLERANCE = 0.1  # Part of a ratio that it may lose beside what its spread explains.


class Comparison(NamedTuple):
    """A ratio then and now; higher is better."""

    name: str
    old: Spread
    new: Spread
    lowest: float  # That still passes.

    @property
    def fell(self) -> bool:
        """Whether it is a regression."""
        return self.new.median < self.lowest


def ratios(results: Facts) -> dict[str, Spread]:
    """Everything that is better when it is higher and has no unit.

    Args:
        results: as in a results file.

    Returns:
        Name to ratio: each share of a ceiling, the useful share of what training executes,
        early over late step of the long rollout, bare over whole start.
    """
    found: dict[str, Spread] = {}
    for suite, part in results["suites"].items():
        for name, facts in part["measurements"].items():
            for limit, value in facts["shares"].items():
                found[f"{suite}: {name}, share of {CEILINGS[limit]}"] = Spread(**value)
            if "late_to_early" in facts:
                late = facts["late_to_early"]
                median, low = 1 / late["median"], 1 / late["high"]
                early = Spread(median, low, 2 * median - low)  # 1 / late["low"] may be endless.
                found[f"{suite}: {name}, early over late step"] = early
            if suite == "train":
                useful = facts["useful_flops"] / facts["flops"]["executed"]
                found[f"{suite}: {name}, useful share of operations"] = Spread(*[useful] * 3)
    for kind in ("cold", "recompiled", "warm"):
        if value := results.get("startup", {}).get(f"bare_share_of_{kind}"):
            found[f"start-up: bare over {kind}"] = Spread(**value)
    return found


def compare(old: Facts, new: Facts, tolerance: float = TOLERANCE) -> list[Comparison]:
    """Holds the ratios of two results side by side.

    A ratio has fallen if it is below `old * (1 - tolerance)` by more than the quartiles of
    both, taken as independent, explain.

    Args:
        old: results.
        new: results; ratios that only one of them has are left out.
        tolerance: part of a ratio.

    Returns:
        A comparison for each common ratio.

    Raises:
        ConfigError: they have no ratio in common.
    """
    before, now = ratios(old), ratios(new)
    common = [name for name in before if name in now]
    if not common:
        raise ConfigError("--against: the two results have no measurement in common")
    compared = []
    for name in common:
        margin = math.hypot(_half(before[name]), _half(now[name]))
        lowest = before[name].median * (1 - tolerance) - margin
        compared.append(Comparison(name, before[name], now[name], lowest))
    return compared


def _half(value: Spread) -> float:
    """Half the distance of the quartiles."""
    return (value.high - value.low) / 2


def comparison_table(compared: list[Comparison]) -> str:
    """A line a ratio, regressions marked."""
    return markdown_table(
        [
            {
                "ratio": c.name,
                "then": f"{c.old.median:.4f}",
                "now": f"{c.new.median:.4f}",
                "change": f"{c.new.median / c.old.median - 1:+.0%}",
                "lowest allowed": f"{max(0.0, c.lowest):.4f}",
                "": "FELL" if c.fell else "ok",
            }
            for c in compared
        ]
    )


def remarks(old: Facts, new: Facts) -> list[str]:
    """What else differs between two results and may explain a change."""
    lines = []
    for key in ("config", "hardware", "host"):
        if old[key] != new[key]:
            lines.append(f"{key}: then {old[key]}, now {new[key]}")
    for key in ("settings", "versions"):
        for name, x, y in differences(old[key], new[key]):
            lines.append(f"{key}, {name}: then {x!r}, now {y!r}")
    return lines
