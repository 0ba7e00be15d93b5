"""What a run is, in a few lines, for the one who looks at its curves in TensorBoard."""

from compad_jax.backend import processes, provenance
from compad_jax.config import Config, to_dict
from compad_jax.config.checks import differences
from compad_jax.training.metrics_log import Board


def log_card(workdir: str, config: Config, num_parameters: int, step: int) -> None:
    """Adds the card of a run to its TensorBoard, at the step where a training starts or goes on."""
    if processes.is_primary():
        with Board(workdir) as board:
            board.add_text("run", run_card(config, num_parameters), step)


def run_card(config: Config, num_parameters: int) -> str:
    """A table in Markdown: size, hardware, commit, and the settings that are not the defaults."""
    facts = {
        "parameters": f"{num_parameters:,}",
        "hardware": provenance.describe_hardware(),
        "commit": provenance.describe_commit() or "not known",
    }
    changed = differences(to_dict(Config()), to_dict(config))
    rows = [*facts.items(), *((f"`{place}`", f"`{value!r}`") for place, _, value in changed)]
    lines = [f"| {name} | {_escape(value)} |" for name, value in rows]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")
