"""Results as tables and sentences in Markdown."""

from collections.abc import Callable
from typing import Any

from benchmarks.bench_measure import Facts
from compad_jax.reports.tables import markdown_table

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
CEILINGS = {
    "matmul_large": "large matrix product",
    "matmul_model": "products of the model's shapes",
    "copy": "copying memory",
    "environment": "environments alone",
}


def summary(results: Facts) -> str:
    """A line a measurement: rate and shares of the ceilings."""
    rows = [
        _row(f"{suite}: {name}", facts)
        for suite, part in results["suites"].items()
        for name, facts in part["measurements"].items()
    ]
    return markdown_table(rows)


def _row(name: str, facts: Facts) -> Facts:
    shares = (f"{percent(value)} of {CEILINGS[key]}" for key, value in facts["shares"].items())
    item = facts["item"]
    return {
        "what": name,
        "median rate [quartiles]": quantity(facts["rate"], f"{item}/s"),
        "share of a ceiling": "; ".join(shares),
        "compiling": f"{facts['compile_seconds']:.1f} s",
    }


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
            "ceiling": CEILINGS[name],
            "median rate [quartiles]": quantity(facts["rate"], facts["unit"]),
            "of": facts["shapes"],
        }
        for suite, part in results["suites"].items()
        for name, facts in part["ceilings"].items()
    ]
    return markdown_table(rows)


def _suite(name: str) -> Callable[[Facts], str]:
    return lambda results: summary({"suites": {name: results["suites"][name]}})


def _operations(results: Facts) -> str:
    """Where the operations of a training step go."""
    rows = []
    for name, facts in results["suites"]["train"]["measurements"].items():
        steps, flops = facts["steps"], facts["flops"]
        rows.append(
            {
                "program": name,
                "useful": f"{number(facts['useful_flops'] / steps)}flop a step",
                "executed": f"{number(flops['executed'] / steps)}flop a step",
                "useful share": f"{facts['useful_flops'] / flops['executed']:.0%}",
                "program, loop bodies once": f"{number(flops['loops_once'])}flop",
                "XLA's count of the program": f"{number(flops['xla'])}flop",
                "memory of the program": f"{facts['program_bytes'] / 2**20:,.0f} MiB a device",
            }
        )
    return markdown_table(rows)


def _long(results: Facts) -> str:
    facts = results["suites"]["act"]["measurements"]["long rollout"]
    late = facts["late_to_early"]
    return (
        f"{facts['steps']:,.0f} environment steps in {facts['environments']} environments: a step "
        f"of the last tenth takes {late['median']:.2f} [{late['low']:.2f}, {late['high']:.2f}] "
        f"times as long as one of the first; memory in use grew by "
        f"{facts['memory_growth_bytes'] / 2**20:.1f} MiB."
    )


def _goals(results: Facts) -> str:
    rows = [
        {"source": name, "goals": f["goals"], "seconds a goal": f"{f['seconds_a_goal']:.3g}"}
        for name, f in results["suites"]["collect"]["measurements"].items()
    ]
    return markdown_table(rows)


def _startup(results: Facts) -> str:
    startup, rows = results["startup"], []
    for kind in ("bare", "warm", "recompiled", "cold"):
        facts = startup[kind]
        phases = facts.get("phases", {})
        limit = startup.get(f"bare_share_of_{kind}")
        rows.append(
            {
                "start": kind,
                "seconds to the first step": "{median:.1f} [{low:.1f}, {high:.1f}]".format(**facts),
                "CPU seconds": f"{facts['cpu_seconds']:.1f}",
                "of it": ", ".join(f"{name} {s:.1f}" for name, s in phases.items()),
                "share of a bare start": percent(limit) if limit else "",
            }
        )
    return markdown_table(rows)


def _memory(results: Facts) -> str:
    rows = [
        {
            "suite": suite,
            **{f"peak of a {k}": f"{v / 2**30:.2f} GiB" for k, v in part["peak_memory"].items()},
            "measuring took": f"{part['seconds']:.0f} s",
        }
        for suite, part in results["suites"].items()
    ]
    return markdown_table(rows)


def _sweeps(results: Facts) -> str:
    rows = []
    for part in results["suites"].values():
        for facts in part["sweeps"].values():
            points = (f"{p['x']}: {1e6 * p['seconds']['median']:.3g}" for p in facts["points"])
            slope = facts["slope"]
            rows.append(
                {
                    "setting": facts["label"],
                    "microseconds an item at each value": ", ".join(points),
                    "item": facts["item"],
                    "slope": "" if slope is None else f"{slope:+.2f}",
                }
            )
    if not rows:
        raise KeyError("sweeps")
    return markdown_table(rows)


BLOCKS: dict[str, Callable[[Facts], str]] = {
    "summary": summary,
    "machine": _machine,
    "ceilings": _ceilings,
    "train": _suite("train"),
    "operations": _operations,
    "act": _suite("act"),
    "long": _long,
    "collect": _suite("collect"),
    "goals": _goals,
    "startup": _startup,
    "memory": _memory,
    "sweeps": _sweeps,
}


def number(value: float) -> str:
    """Three digits and a prefix of the unit that follows: `14.9 G`."""
    for size, prefix in _PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:,.0f} "


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
