"""What an agent loses by what it does when there is nothing left to earn.

    python -m experiments.idle runs/dark_goals --results results/idle

A teacher of the dark rooms then acts at random, and nobody imitates it. So what an agent does there
was never trained, and what it sees there may be in no history. It plays as it is, and once more
with the environment acting at random in its place from the last reward of each episode on.
Shipped agents and run directories whose episodes can have nothing left to earn.
"""

import dataclasses
import json
from typing import Any

import jax
import numpy as np

from compad_jax.backend import process
from compad_jax.config.checks import require
from compad_jax.config.command_line import one_line_errors
from compad_jax.envs import make_env
from compad_jax.envs.protocol import FinishableEnv
from compad_jax.envs.split import tasks_of
from compad_jax.envs.tabular import optimal_returns
from compad_jax.envs.wrapper import Wrapper
from compad_jax.evaluation.episodes import SELECTIONS, make_episodes
from compad_jax.evaluation.statistics import Returns, fractions, no_source, summarise
from compad_jax.reports.tables import markdown_table
from compad_jax.reports.wording import ACTING
from compad_jax.training.restore import restore_trained
from experiments.single_agents import (
    agent_parser,
    origin_of,
    require_new,
    show_share,
    write_texts,
)

_KINDS = ("as it is", "at random when idle")


@dataclasses.dataclass(frozen=True)
class RandomWhenIdle(Wrapper):
    """An environment that acts at random in the agent's place, once nothing is left to earn."""

    env: Any  # A `FinishableEnv`.

    def distractor(self, env_state: Any) -> jax.Array:
        """Whether the environment supplies the action: bool []."""
        return self.env.is_finished(env_state)


def examine(checkpoint: str, split: str, num_episodes: int) -> dict[str, Any]:
    """Plays both ways, with the same tasks and seeds.

    Returns:
        Where it comes from; and by kind and way to act, share of the optimum in the last tenth of
        the episodes, with its interval, and in each tenth.

    Raises:
        ConfigError: there is no such agent, or something can always be earned.
    """
    policy, step, params, config = restore_trained(checkpoint)
    env = make_env(config.env)
    require(
        isinstance(env, FinishableEnv) and not hasattr(env, "distractor"),
        f"{checkpoint}: {config.env.name} always has something left to earn, or makes agents wait",
    )
    _, tasks = tasks_of(env, config.env, split)
    optimum = optimal_returns(env, tasks)
    found = {}
    for kind, played in zip(_KINDS, (env, RandomWhenIdle(env)), strict=True):
        episodes = make_episodes(config, policy, played, tasks, num_episodes)(params)
        found[kind] = {
            selection: _share(Returns(returns, optimum), tasks)
            for selection, returns in zip(SELECTIONS, episodes.returns, strict=True)
        }
    facts = {"split": split, "num_episodes": num_episodes, "num_seeds": config.eval.num_seeds}
    facts["num_tasks"] = len(jax.tree.leaves(tasks)[0])
    return origin_of(checkpoint, step, config) | facts | {"found": found}


def _share(outcome: Returns, tasks: Any) -> dict[str, Any]:
    """Of the optimum, by returns [E, G, R]."""
    summary = summarise(outcome, tasks, no_source(len(outcome.returns[0])))
    shares = fractions(*outcome)
    assert shares is not None
    tenths = np.array_split(shares, 10)
    return {
        "share": summary["final_fraction_of_optimum"],
        "ci95": summary["final_fraction_ci95"],
        "tenths": [float(x.mean()) for x in tenths if len(x)],
    }


def table(results: dict[str, Any]) -> str:
    """What was found, in Markdown."""
    rows = [
        {
            "when nothing is left to earn": kind,
            **{ACTING[selection]: show_share(share) for selection, share in shares.items()},
        }
        for kind, shares in results["found"].items()
    ]
    facts = (
        f"{results['checkpoint']}, step {results['step']}; {results['num_tasks']} "
        f"{results['split'].replace('_', '-')} tasks, {results['num_seeds']} seeds, last tenth of "
        f"{results['num_episodes']} episodes; {results['hardware']}; commit {results['commit']}."
    )
    return f"{markdown_table(rows)}\n\n{facts}"


def main() -> None:
    """Parses the command line, plays, prints the table."""
    parser = agent_parser(__doc__)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--split", choices=("held_out", "validation"), default="held_out")
    arguments = parser.parse_args()
    with one_line_errors():
        process.configure(1)
        require_new(arguments.results)
        results = examine(arguments.checkpoint, arguments.split, arguments.episodes)
        text = table(results)
        print(text)
        if arguments.results:
            write_texts(arguments.results, {"table.md": text, "idle.json": json.dumps(results)})


if __name__ == "__main__":
    main()
