"""What the teacher of a delayed bandit loses after the wait, which takes nothing from it.

python -m experiments.bandit_teacher configs/delayed_bandit.py > results/bandit_teacher.json
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np

from compad_jax.backend import process, provenance
from compad_jax.config.command_line import load_config, one_line_errors
from compad_jax.envs import make_env
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.envs.split import tasks_of
from compad_jax.histories.collection import collect


def teacher_regrets(config_file: str, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Regrets of a source on held-out tasks, in the first episode of its histories.

    A bandit's source learns nothing and forgets nothing while it waits, so it is played without
    a wait.

    Args:
        config_file: of a `delayed_bandit`.
        overrides: group.field=value

    Returns:
        `decision_regret`, of the first pull after the wait, by the source's probabilities; and
        `recall_regret`, of all pulls after it, by what they paid.
    """
    config = load_config(config_file, (*overrides, "env.wait=0"))
    env = make_env(config.env)
    assert isinstance(env, DelayedBandit)
    rows, tasks = tasks_of(env, config.env, "held_out")
    history, means = collect(config), np.asarray(tasks)
    after = slice(env.num_pulls, 2 * env.num_pulls)
    paid = history.transition.reward[rows][..., after].sum(-1)
    assert history.log_probs is not None
    first = np.exp(history.log_probs[rows][:, :, env.num_pulls].astype(np.float32))
    best = means.max(-1)
    return {
        "decision_regret": float((best[:, None] - np.einsum("gra,ga->gr", first, means)).mean()),
        "recall_regret": float((env.num_pulls * best[:, None] - paid).mean()),
    }


def main() -> None:
    """Parses the command line and prints the regrets as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", help="file of a delayed_bandit")
    arguments = parser.parse_args()
    with one_line_errors():
        process.configure(1)
        regrets = teacher_regrets(arguments.config)
        facts = {
            "config": arguments.config,
            "hardware": provenance.describe_hardware(),
            "commit": provenance.describe_commit(),
        }
        print(json.dumps(regrets | facts))


if __name__ == "__main__":
    main()
