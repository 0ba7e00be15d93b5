"""Results: the file, tables in Markdown, and what has become slower since another file."""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.measure import Facts, Spread
from benchmarks.startup import KINDS
from compad_jax.backend.files import write_json
from compad_jax.config.checks import ConfigError, differences
from compad_jax.reports.tables import markdown_table

FORMAT = 2  # Of the results file.
TOLERANCE = 0.1  # Part of a ratio that it may lose beside what its spread explains.
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_CEILINGS = {
    "matmul_large": "large matrix product",
    "matmul_model": "products of the model's shapes",
    "copy": "copying memory",
    "environment": "environments alone",
}


def write_results(results: Facts, path: str) -> None:
    """Writes a results file."""
    write_json(path, results, indent=1)


def read_results(path: str) -> Facts:
    """Reads what `write_results` wrote.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise ConfigError(f"{path}: not a results file of this benchmark (format {FORMAT})")
    return results


def summary(results: Facts) -> str:
    """A line a measurement: rate and shares of the ceilings."""
    rows = [
        _row(f"{suite}: {name}", facts)
        for suite, part in results["suites"].items()
        for name, facts in part["measurements"].items()
    ]
    return markdown_table(rows)


def _headline(results: Facts) -> str:
    """As `summary`, without the variants; their names begin with that of what they vary."""
    suites = {}
    for suite, part in results["suites"].items():
        measured = part["measurements"]
        chosen = [name for name in measured if not _is_variant(name, measured)]
        suites[suite] = {"measurements": {name: measured[name] for name in chosen}}
    return summary({"suites": suites})


def _is_variant(name: str, names: Iterable[str]) -> bool:
    return any(name.startswith(f"{other} ") for other in names)


def _row(name: str, facts: Facts) -> Facts:
    shares = (f"{percent(value)} of {_CEILINGS[key]}" for key, value in facts["shares"].items())
    return {
        "what": name,
        "median rate [quartiles]": quantity(facts["rate"], f"{facts['item']}/s"),
        "share of a ceiling": "; ".join(shares),
        "compiling": f"{facts['compile_seconds']:.1f} s",
    }


def _suite(name: str) -> Callable[[Facts], str]:
    return lambda results: summary({"suites": {name: results["suites"][name]}})


def _machine(results: Facts) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"`{results['config']}` at commit {results['commit']} on {results['hardware']} "
        f"({results['host']}); {versions}."
    )


def _ceilings(results: Facts) -> str:
    rows = [
        {
            "suite": suite,
            "ceiling": _CEILINGS[name],
            "median rate [quartiles]": quantity(facts["rate"], facts["unit"]),
            "of": facts["shapes"],
        }
        for suite, part in results["suites"].items()
        for name, facts in part["ceilings"].items()
    ]
    return markdown_table(rows)


def _long(results: Facts) -> str:
    facts = results["suites"]["act"]["measurements"]["long rollout"]
    return (
        f"{facts['steps']:,.0f} environment steps in {facts['environments']} environments: a step "
        "of the last tenth takes {median:.2f} [{low:.2f}, {high:.2f}] times as long as one of "
        "the first.".format(**facts["late_to_early"])
    )


def _windows(results: Facts) -> str:
    measured = list(results["suites"]["long"]["measurements"].values())
    rows = [
        {
            "tokens of a window": f"{facts['window']:,}",
            "median rate [quartiles]": quantity(facts["rate"], f"{facts['item']}/s"),
            "memory of a device": f"{facts['memory_bytes'] / 2**20:,.0f} MiB",
        }
        for facts in measured
    ]
    lengths, rates, tokens, memory = np.array(
        [
            (
                facts["window"],
                facts["rate"]["median"],
                facts["items"] / facts["devices"],
                facts["memory_bytes"],
            )
            for facts in measured
        ]
    ).T
    return (
        f"{markdown_table(rows)}\n\nThe time of a token grows as the window's length to the power "
        f"of {_slope(np.log(lengths), -np.log(rates)):.3f}. A device needs "
        f"{_slope(tokens, memory):.0f} bytes for each further token of its windows: for copies of "
        f"the token, not for what is computed from it. {_machine(results)}"
    )


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the line through points with the least squares."""
    x = x - x.mean()
    return float(x @ y / (x @ x))


def _startup(results: Facts) -> str:
    startup, rows = results["startup"], []
    for kind in (kind for kind in KINDS if kind in startup):
        facts, limit = startup[kind], startup.get(f"bare_share_of_{kind}")
        rows.append(
            {
                "start": kind,
                "seconds to the first step": "{median:.1f} [{low:.1f}, {high:.1f}]".format(**facts),
                "of it": ", ".join(f"{name} {s:.1f}" for name, s in facts["phases"].items()),
                "share of a bare start": percent(limit) if limit else "",
            }
        )
    return markdown_table(rows)


BLOCKS: dict[str, Callable[[Facts], str]] = {
    "summary": summary,
    "headline": _headline,
    "machine": _machine,
    "ceilings": _ceilings,
    "train": _suite("train"),
    "act": _suite("act"),
    "long": _long,
    "windows": _windows,
    "collect": _suite("collect"),
    "startup": _startup,
}


def quantity(value: dict[str, Any], unit: str) -> str:
    """Median, quartiles and unit, `149 [138, 161] Gflop/s`; things are counted in full."""
    counted = not unit.startswith(("flop", "byte"))
    prefixes = ((1, ""),) if counted else _PREFIXES
    size, prefix = next(((s, p) for s, p in prefixes if value["median"] >= s), (1, ""))
    digits = 0 if value["median"] / size >= 100 else 1
    texts = (f"{value[key] / size:,.{digits}f}" for key in ("median", "low", "high"))
    return "{} [{}, {}] {}{}".format(*texts, prefix, unit)


def percent(value: dict[str, Any]) -> str:
    """Share with its quartiles, `35.6% [30.1, 40.2]`."""
    texts = (f"{100 * value[key]:.3g}" for key in ("median", "low", "high"))
    return "{}% [{}, {}]".format(*texts)


def ratios(results: Facts) -> dict[str, Spread]:
    """What is better when it is higher and has no unit: never seconds, which a machine decides.

    Args:
        results: as in a results file.

    Returns:
        Name to ratio: each share of a ceiling, early over late step of the long rollout, bare
        over whole start.
    """
    found: dict[str, Spread] = {}
    for suite, part in results["suites"].items():
        for name, facts in part["measurements"].items():
            for limit, value in facts["shares"].items():
                found[f"{suite}: {name}, share of {_CEILINGS[limit]}"] = Spread(**value)
    act = results["suites"].get("act", {}).get("measurements", {})
    if late := act.get("long rollout", {}).get("late_to_early"):
        median, low = 1 / late["median"], 1 / late["high"]
        early = Spread(median, low, 2 * median - low)  # 1 / late["low"] may be endless.
        found["act: long rollout, early over late step"] = early
    for kind in KINDS:
        if value := results.get("startup", {}).get(f"bare_share_of_{kind}"):
            found[f"start-up: bare over {kind}"] = Spread(**value)
    return found


def compare(old: Facts, new: Facts) -> dict[str, Facts]:
    """Holds the ratios of two results side by side; those that only one has are left out.

    A ratio has fallen if it is below `old * (1 - TOLERANCE)` by more than the quartiles of
    both, taken as independent, explain.

    Returns:
        For each ratio what a table shows of it; under "" whether it FELL or is ok.

    Raises:
        ConfigError: they have no ratio in common.
    """
    before, now, rows = ratios(old), ratios(new), {}
    for name in (name for name in before if name in now):
        then, margin = before[name].median, math.hypot(_half(before[name]), _half(now[name]))
        lowest = then * (1 - TOLERANCE) - margin
        rows[name] = {
            "ratio": name,
            "then": f"{then:.4f}",
            "now": f"{now[name].median:.4f}",
            "change": f"{now[name].median / then - 1:+.0%}",
            "lowest allowed": f"{max(0.0, lowest):.4f}",
            "": "FELL" if now[name].median < lowest else "ok",
        }
    if not rows:
        raise ConfigError("--against: the two results have no measurement in common")
    return rows


def _half(value: Spread) -> float:
    """Half the distance of the quartiles."""
    return (value.high - value.low) / 2


def remarks(old: Facts, new: Facts) -> list[str]:
    """What else differs between two results and may explain a change."""
    names = ("config", "hardware", "host")
    lines = [f"{k}: then {old[k]}, now {new[k]}" for k in names if old[k] != new[k]]
    for key in ("settings", "versions"):
        for name, x, y in differences(old[key], new[key]):
            lines.append(f"{key}, {name}: then {x!r}, now {y!r}")
    return lines
