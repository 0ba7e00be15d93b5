"""The words and numbers that figures, tables and pages share."""

from typing import Any

Summary = dict[str, Any]  # Contents of summary.json.

TASKS = {"held_out": "unseen", "validation": "validation", "train": "training"}
CRITERIA = "Criteria of the original system, for Dark Room 9x9"
ACTING = {"greedy": "greedy", "sample": "sampled"}


def in_shares(summary: Summary) -> bool:
    """Whether returns are shown as shares of the optimum; otherwise plainly."""
    return summary["fraction_of_optimum"] is not None


def title_of(summary: Summary) -> str:
    """One sentence that says what was found."""
    who = f"{summary['method']} on {_tasks_of(summary)}"
    acting = ACTING[summary["action_selection"]]
    if not in_shares(summary):
        final = final_of(summary, "a return of {} an episode (95% CI {} to {})")
        share = summary["final_share_of_source_return"]
        beside = "" if share is None else f"{percent(share)}% of its source's, "
        return f"{who}: {final}, {beside}{acting}"
    final = final_of(summary, "{}% of the optimum (95% CI {}\u2013{})").replace(".0", "")
    reached = summary["episodes_to_90_percent"]
    speed = "90% not reached" if reached is None else f"90% after {count(reached, 'episode')}"
    return f"{who}: {final}, {speed}, {acting}"


def place_of(summary: Summary) -> str:
    """Environment, length and tasks of an evaluation."""
    return f"{summary['env']}, {count(summary['num_episodes'], 'episode')}, {_tasks_of(summary)}"


def _tasks_of(summary: Summary) -> str:
    return count(summary["num_tasks"], f"{TASKS[summary['split']]} task")


def count(number: int, noun: str) -> str:
    """A number and its noun, in the plural where it must be."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(fraction: float) -> str:
    """Percentage with one decimal; it reads 100.0 only where nothing is missing."""
    return f"{99.9 if 0.999 < fraction < 0.999999 else 100 * fraction:.1f}"


def overall_of(summary: Summary) -> str:
    """Of all episodes: the percentage of the optimum, or the mean return."""
    if in_shares(summary):
        return f"{percent(summary['fraction_of_optimum'])}%"
    return f"{summary['mean_return']:.4g}"


def final_of(summary: Summary, form: str = "") -> str:
    """Final percentage of the optimum, or final mean return, with its interval."""
    if in_shares(summary):
        values = summary["final_fraction_of_optimum"], *summary["final_fraction_ci95"]
        return (form or "{}% [{}, {}]").format(*map(percent, values))
    values = summary["final_mean_return"], *summary["final_mean_return_ci95"]
    return (form or "{} [{}, {}]").format(*(f"{value:.4g}" for value in values))


def worst_of(summary: Summary) -> str:
    """Final percentage, or final mean return, of the task where it is lowest."""
    name = "final_fraction_of_optimum" if in_shares(summary) else "final_mean_return"
    worst = min(task[name] for task in summary["per_task"] if task[name] is not None)
    return f"{percent(worst)}%" if in_shares(summary) else f"{worst:.4g}"


def shorten(text: str, size: int) -> str:
    """Replaces the middle of a text that is too long."""
    head = (size - 2) // 2
    return text if len(text) <= size else f"{text[:head]}..{text[head + 2 - size :]}"
