"""Evaluations as tables and sentences in Markdown, for pages to show."""

from collections.abc import Sequence

import numpy as np

from compad_jax.config.checks import ConfigError
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import ACTING, Summary, final_of, percent, worst_of

_ACTING = ("greedy", "sample")
_NUM_BOOTSTRAP = 10_000


def returns(summaries: Sequence[Summary]) -> str:
    """A line an evaluation, returns as shares of the optimum, and where they were measured."""
    rows = [
        {
            "run": summary["run"],
            "policy": summary["method"],
            "acting": summary["action_selection"],
            "training seed": summary["config"]["train"]["seed"],
            "last tenth of the episodes [95% CI]": final_of(summary),
            "worst goal": worst_of(summary),
            "all episodes": f"{percent(summary['fraction_of_optimum'])}%",
            "episodes to 90%": summary["episodes_to_90_percent"] or "never",
        }
        for summary in summaries
    ]
    return f"{markdown_table(rows)}\n\n{_place(summaries)}"


def rewards(summaries: Sequence[Summary]) -> str:
    """A line a training that acts by sampling: its size, and its reward in each goal."""
    rows = [
        {
            "run": summary["run"],
            "parameters": f"{summary['num_parameters']:,}",
            "step": f"{summary['step']:,}",
            "mean reward": f"{summary['mean_return']:.1f}",
            "of the optimum": f"{percent(summary['fraction_of_optimum'])}%",
            "last tenth [95% CI]": final_of(summary),
            "reward in each of the goals": " ".join(
                f"{goal['mean_return']:.1f}" for goal in summary["per_task"]
            ),
        }
        for summary in summaries
        if summary["action_selection"] == "sample"
    ]
    return f"{markdown_table(rows)}\n\n{_place(summaries)}"


def rooms(summaries: Sequence[Summary]) -> str:
    """A line an evaluation, each in an environment or on a split of its own."""
    return markdown_table(
        [
            {
                "grid": f"{summary['config']['env']['grid_size']}",
                "horizon": summary["horizon"],
                "split seed": summary["config"]["env"]["split_seed"],
                "acting": summary["action_selection"],
                "last tenth of the episodes [95% CI]": final_of(summary),
                "worst goal": worst_of(summary),
                "all episodes": f"{percent(summary['fraction_of_optimum'])}%",
                "goals": summary["num_tasks"],
                "commit": summary["commit"],
            }
            for summary in summaries
        ]
    )


def lives(summaries: Sequence[Summary]) -> str:
    """A line a long life: does it stay as good as it was at its best?"""
    rows = []
    for summary in summaries:
        tenths = summary["fraction_of_tenths"]
        rows.append(
            {
                "agent": summary["run"],
                "grid": summary["config"]["env"]["grid_size"],
                "acting": ACTING[summary["action_selection"]],
                "lives": summary["num_tasks"] * summary["num_seeds"],
                "steps of each": f"{summary['num_episodes'] * summary['horizon']:,}",
                "compressions": f"{summary['num_compressions']:,}",
                "first tenth": f"{percent(tenths[0])}%",
                "best tenth": f"{percent(max(tenths))}%",
                "last tenth": f"{percent(tenths[-1])}%",
                "last / best": f"{tenths[-1] / max(tenths):.3f}",
                "steps/s": f"{summary['env_steps_per_second']:,.0f}",
            }
        )
    commits, hardware = (
        ", ".join(dict.fromkeys(s[key] for s in summaries)) for key in ("commit", "hardware")
    )
    return f"{markdown_table(rows)}\n\nHeld-out tasks; commit {commits}; {hardware}."


def splits(summaries: Sequence[Summary]) -> str:
    """A line a run, greedy and sampled, and a last one with the mean of all runs.

    Shares of the optimum, or returns where none of the evaluations knows one. The interval of
    the mean is a bootstrap over the runs: over training seeds and splits, not over goals.

    Raises:
        ConfigError: a run has two evaluations of the same kind.
    """
    runs: dict[str, dict[str, Summary]] = {}
    for summary in summaries:
        run, acting = summary["run"], summary["action_selection"]
        if acting in runs.setdefault(run, {}):
            raise ConfigError(f"{run}: two evaluations with {acting} actions; one is shown")
        runs[run][acting] = summary
    rows = [_split_row(run, by_acting) for run, by_acting in runs.items()]
    means: Summary = {"run": f"mean of {len(runs)} runs", "training seed": "", "split seed": ""}
    for acting in _ACTING:
        some = [by_acting[acting] for by_acting in runs.values()]
        mean = _mean_of([final_value(summary) for summary in some])
        means |= _acting_cells(acting, _text(mean, some[0]), "")
    return f"{markdown_table([*rows, means])}\n\n{_place_of_all(summaries)}"


def _split_row(run: str, by_acting: dict[str, Summary]) -> Summary:
    config = next(iter(by_acting.values()))["config"]
    row: Summary = {
        "run": run,
        "training seed": config["train"]["seed"],
        "split seed": config["env"]["split_seed"],
    }
    for acting in _ACTING:
        summary = by_acting[acting]
        ends = (final_value(summary), *final_interval(summary))
        row |= _acting_cells(acting, _text(ends, summary), _text([worst_value(summary)], summary))
    return row


def _acting_cells(acting: str, final: str, worst: str) -> Summary:
    return {f"{acting}, last tenth [95% CI]": final, f"{acting}, worst task": worst}


def _mean_of(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and its 95% bootstrap interval over the values."""
    drawn = np.random.default_rng(0).choice(values, (_NUM_BOOTSTRAP, len(values)))
    low, high = np.quantile(drawn.mean(1), [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def tasks(summaries: Sequence[Summary]) -> str:
    """A line an evaluation, of any environment.

    It shows the return of all episodes and, where an optimum is known, the share of it in the
    last tenth.
    """
    rows = []
    for summary in summaries:
        regrets = [summary.get(key) for key in ("first_regret", "source_first_regret")]
        row = {
            "run": summary["run"],
            "environment": summary["env"],
            "source": summary["source"],
            "acting": summary["action_selection"],
            "tasks": f"{summary['num_tasks']} {summary['split'].replace('_', '-')}",
            "episodes": summary["num_episodes"],
            "mean return": f"{summary['mean_return']:.2f}",
            "of the optimum [95% CI]": final_of(summary) if _has_optimum(summary) else "-",
            "regret of the first episode": "-" if regrets[0] is None else f"{regrets[0]:.2f}",
            "its source's": "-" if regrets[1] is None else f"{regrets[1]:.2f}",
            "commit": summary["commit"],
        }
        rows.append(row)
    return markdown_table(rows)


def _has_optimum(summary: Summary) -> bool:
    return summary.get("final_fraction_of_optimum") is not None


def final_value(summary: Summary) -> float:
    """Share of the optimum in the last tenth of the episodes; without one, the mean return."""
    known = _has_optimum(summary)
    return float(summary["final_fraction_of_optimum" if known else "mean_return"])


def final_interval(summary: Summary) -> Sequence[float]:
    """95% interval of `final_value`; empty where the summary has none."""
    key = "final_fraction_ci95" if _has_optimum(summary) else "mean_return_ci95"
    return summary.get(key) or ()


def worst_value(summary: Summary) -> float:
    """`final_value` of the worst task."""
    task = worst_task(summary)
    return task["final_fraction_of_optimum" if _has_optimum(summary) else "mean_return"]


def _text(values: Sequence[float], summary: Summary) -> str:
    """A value and its interval, `99.1% [98.4, 99.6]`; without an optimum `7.31 [7.02, 7.55]`."""
    known = _has_optimum(summary)
    first, *interval = (percent(x) if known else f"{x:.2f}" for x in values)
    unit = "%" if known else ""
    return f"{first}{unit} [{', '.join(interval)}]" if interval else f"{first}{unit}"


def _place_of_all(summaries: Sequence[Summary]) -> str:
    """What was played, and where it was measured; whatever differs, each once."""

    def each(key: str) -> str:
        return ", ".join(dict.fromkeys(str(summary[key]) for summary in summaries))

    return (
        f"{each('env')}: {each('num_tasks')} {each('split').replace('_', '-')} tasks x "
        f"{each('num_seeds')} seeds, {each('num_episodes')} episodes; commit {each('commit')}; "
        f"{each('hardware')}. Interval of a run: bootstrap over tasks, then seeds; of the mean: "
        "over runs."
    )


def phases(summaries: Sequence[Summary]) -> str:
    """A line a run: the seconds of its phases."""
    rows = {}
    for summary in summaries:
        timing = summary["timing"]
        seconds = {name: f"{s:.1f}" for name, s in timing["seconds"].items()}
        facts = {"in all": f"{timing['total_seconds']:.1f}", "commit": timing["commit"]}
        rows[summary["run"]] = {"run": summary["run"]} | seconds | facts
    return markdown_table(list(rows.values()))


def cost(summaries: Sequence[Summary]) -> str:
    """One sentence: what the first of the runs took."""
    timing = summaries[0]["timing"]
    seconds = timing["seconds"]
    before = max(seconds["compile"], seconds["collect"])  # Side by side.
    return (
        f"On {timing['hardware']} the program took {timing['total_seconds']:.0f} seconds and "
        f"{timing['peak_memory_gib']:.1f} GiB: {before:.0f} s compiling and collecting "
        f"side by side, {seconds['train']:.0f} s training, {seconds['evaluate']:.0f} s evaluating."
    )


def _place(summaries: Sequence[Summary]) -> str:
    """Where the returns come from; a commit or a machine of every evaluation, each once."""
    first = summaries[0]
    commits = ", ".join(dict.fromkeys(summary["commit"] for summary in summaries))
    machines = ", ".join(dict.fromkeys(summary["hardware"] for summary in summaries))
    split, version = first["config"]["env"]["split_seed"], first["versions"]["jax"]
    return (
        f"{first['num_tasks']} {first['split'].replace('_', '-')} goals x {first['num_seeds']} "
        f"seeds, {first['num_episodes']} episodes, split seed {split}, mean optimum "
        f"{first['optimum_mean']:.2f}; commit {commits}; {machines}; jax {version}."
    )


def worst_task(summary: Summary) -> Summary:
    """The task with the lowest share of the optimum at the end, or return where none is known."""

    def score(task: Summary) -> float:
        share = task.get("final_fraction_of_optimum")
        return task["mean_return"] if share is None else share

    return summary["worst_task"] if "worst_task" in summary else min(summary["per_task"], key=score)
