"""Comparisons of runs as tables and sentences in Markdown, for pages to show."""

from collections.abc import Sequence

from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import Summary, final_of, percent, worst_of


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
