"""Makes an agent that comes with the package out of a finished run.

    python -m experiments.ship dark_room_wait runs/dark_room_wait

It writes `compad_jax/agents/NAME`: the settings, the parameters and a card with what every finished
evaluation of the run found.
"""

import argparse
import dataclasses
import os

import jax
from flax import serialization

from compad_jax.backend.files import write_bytes, write_text
from compad_jax.config import save_json
from compad_jax.config.checks import ConfigError, require
from compad_jax.config.command_line import one_line_errors
from compad_jax.reports.finished_runs import load_run
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import Summary, final_of, percent
from compad_jax.training.restore import restore_trained

_LARGEST = 2_000_000  # Bytes.


def ship(name: str, run: str, directory: str = "compad_jax/agents") -> str:
    """Writes the agent; returns its folder.

    Raises:
        ConfigError: the run is not finished or not evaluated, or its parameters are too large.
    """
    _, step, params, config = restore_trained(run)
    evaluations = [summary for summary, _ in load_run(run)]
    last = config.train.train_timesteps
    require(step == last, f"{run}: its checkpoint is of step {step}, not of the last one, {last}")
    data = serialization.to_bytes(jax.device_get(params))
    require(len(data) < _LARGEST, f"{run}: {len(data)} bytes of parameters; at most {_LARGEST}")
    folder = os.path.join(directory, name)
    os.makedirs(folder, exist_ok=True)
    # A first look takes seconds, however long the evaluations of the run were.
    few = dataclasses.replace(config.eval, split="held_out", num_seeds=2, num_episodes=4)
    save_json(dataclasses.replace(config, eval=few), os.path.join(folder, "config.json"))
    write_bytes(os.path.join(folder, "params.msgpack"), data)
    write_text(os.path.join(folder, "card.md"), _card(name, run, evaluations))
    return folder


def _card(name: str, run: str, evaluations: list[Summary]) -> str:
    first = evaluations[0]
    config, optimum = first["config"], first["optimum_mean"]
    own = config["source"]
    held_out = [s for s in evaluations if s["split"] == "held_out"]
    held_out.sort(key=lambda s: (s["config"]["env"]["wait"], s["action_selection"]))
    if not held_out:
        raise ConfigError(f"{run}: was not evaluated on held-out tasks")
    tokens = own["num_steps"] * config["train"]["train_batch_size"]
    tokens *= config["train"]["train_timesteps"]
    return f"""# {name}

    python eval_main.py --checkpoint {name}

A {first["method"]} policy of {first["num_parameters"]:,} parameters, memory rule \
`{config["model"]["memory_update"]}`, for tasks of the family `{first["env"]}` like those of its \
[settings](config.json).

- **Data**: histories of `{own["name"]}`, {own["num_streams"]} a task, {own["num_steps"]:,} steps \
each; split seed {config["env"]["split_seed"]}. Held-out tasks were never trained on and chose \
nothing.
- **Budget**: {config["train"]["train_timesteps"]:,} steps, {tokens / 1e6:.1f} million tokens; \
training seed {config["train"]["seed"]}; evaluated at commit {first["commit"]} on \
{first["hardware"]}.

On held-out tasks (mean optimum of an episode \
{"not known" if optimum is None else f"{optimum:.2f}"}):

{markdown_table([_row(s) for s in held_out])}

Intervals: 95%, bootstrap over tasks, then seeds. In percent: of the optimum. What it \
does on other families, sizes or waits than these was not measured.
"""


def _row(summary: Summary) -> dict[str, str]:
    env, direct = summary["config"]["env"], summary["direct_fraction"]
    wait = f"up to {env['max_wait']:,}" if env["wait"] < 0 else f"{env['wait']:,}"
    if not env["max_wait"] and env["wait"] <= 0:
        wait = "none"
    row = {
        "acting": summary["action_selection"],
        "tasks": str(summary["num_tasks"]),
        "seeds": str(summary["num_seeds"]),
        "episodes": str(summary["num_episodes"]),
        "wait": wait,
        "last tenth of the episodes": final_of(summary),
        "direct": "-" if direct is None else f"{percent(direct)}%",
    }
    regret = summary["recall_regret"]
    return row | {"regret after the wait": "-" if regret is None else f"{regret:.2f}"}


def main() -> None:
    """Parses the command line and writes the agent."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="of the agent")
    parser.add_argument("run", help="run directory")
    arguments = parser.parse_args()
    with one_line_errors():
        print(ship(arguments.name, arguments.run))


if __name__ == "__main__":
    main()
