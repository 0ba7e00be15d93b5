"""The evaluation job: a frozen policy learns in context on tasks it has never seen."""

import os
from typing import Any

import jax
import numpy as np

from compad_jax.backend import provenance
from compad_jax.config import Config, to_dict
from compad_jax.envs import make_env
from compad_jax.envs.protocol import Env, optimal_return, random_return, solve_tasks
from compad_jax.envs.split import split_tasks
from compad_jax.evaluation.episodes import SELECTIONS, make_episodes
from compad_jax.evaluation.statistics import Returns, claim, summarise, write_curve, write_summary
from compad_jax.histories.collection import load_histories
from compad_jax.models import make_policy
from compad_jax.training.criteria import original_criteria
from compad_jax.training.metrics_log import log_evaluation, read_metrics
from compad_jax.training.restore import MakePolicy, restore_policy
from compad_jax.training.run_directory import check_workdir


def evaluate(config: Config, workdir: str, make_policy: MakePolicy = make_policy) -> list[str]:
    """Rolls the trained policy out and writes what it achieved.

    Args:
        config: all settings; `eval` says what to run.
        workdir: run directory with checkpoints.
        make_policy: an experiment may act with another policy on the same parameters.

    Returns:
        The directories written, one for greedy and one for sampled actions; each has
        `summary.json` and `curve.csv`.

    Raises:
        ConfigError: nothing, or something else, was trained in `workdir`, or a different
            evaluation would be replaced.
    """
    check_workdir(config, workdir)
    env = make_env(config.env)
    policy, step, params = restore_policy(config, workdir, config.eval.checkpoint, make_policy)
    indices = getattr(split_tasks(len(env.tasks), config.env), config.eval.split)
    tasks = env.tasks[indices]
    play = make_episodes(config, policy, env, tasks, config.eval.num_episodes)
    returns, speed = play(params)
    optimum, at_random = (
        np.asarray(solve_tasks(env, tasks, solve)) for solve in (optimal_return, random_return)
    )
    source = source_curve(config, indices, optimum)
    facts = _facts(config, workdir, env, len(indices)) | {
        "random_fraction_of_optimum": float((at_random / optimum).mean()),
        "num_compressions": int(speed.num_compressions[-1]),
        "env_steps_per_second": speed.steps_per_second,
        "late_to_early_step_time": speed.late_to_early,
        "step": step,
        "num_parameters": sum(x.size for x in jax.tree.leaves(params)),
    }
    metrics = read_metrics(workdir)
    directories = []
    for index, selection in enumerate(SELECTIONS):
        outcome = Returns(returns[index], optimum)
        name = f"{config.eval.split}-{selection}-{config.eval.num_episodes}"
        criteria = original_criteria(metrics, outcome.returns, config, env.spec.num_actions)
        summary = {"name": name, "action_selection": selection} | facts
        summary |= summarise(outcome, np.asarray(tasks)) | {"criteria": criteria}
        directory = os.path.join(workdir, "eval", name)
        claim(directory, summary)
        write_curve(directory, outcome, source, speed.num_compressions)
        write_summary(directory, summary)  # Last: where it is, the evaluation is whole.
        log_evaluation(workdir, step, summary)
        directories.append(directory)
    return directories


def _facts(config: Config, workdir: str, env: Env, num_tasks: int) -> dict[str, Any]:
    """What was evaluated, on what, and where."""
    return {
        "run": workdir,
        "method": "CompAD" if config.model.n_latent else "AD",
        "env": config.env.name,
        "source": config.source.name,
        "split": config.eval.split,
        "num_tasks": num_tasks,
        "num_seeds": config.eval.num_seeds,
        "num_episodes": config.eval.num_episodes,
        "horizon": env.spec.horizon,
        "max_compress_length": config.data.max_compress_length,
        "max_uncompressed_length": config.data.max_uncompressed_length,
        "hardware": provenance.describe_hardware(),
        "versions": provenance.describe_versions(),
        "commit": provenance.describe_commit(),
        "config": to_dict(config),
    }


def source_curve(config: Config, indices: np.ndarray, optimum: np.ndarray) -> np.ndarray:
    """The source's own return on the same tasks, as a fraction of the optimum, [episodes].

    Args:
        config: `env` and `source`.
        indices: int [G], the tasks.
        optimum: float [G].

    Returns:
        Mean over tasks and streams of every whole episode.
    """
    reward = load_histories(config).transition.reward[indices]
    horizon = config.env.horizon
    whole = reward.shape[-1] // horizon * horizon
    returns = reward[..., :whole].reshape(*reward.shape[:2], -1, horizon).sum(-1)
    return np.asarray((returns / optimum[:, None, None]).mean((0, 1)))
