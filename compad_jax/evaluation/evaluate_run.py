"""The evaluation job: a frozen policy learns in context on tasks it has never seen."""

import os
from typing import Any

import jax
import numpy as np

from compad_jax.backend import files, processes, provenance, sharding
from compad_jax.config import Config, to_dict
from compad_jax.config.shipped import is_shipped, trained_directory
from compad_jax.envs import make_env
from compad_jax.envs.protocol import Env
from compad_jax.envs.split import tasks_of
from compad_jax.envs.tabular import optimal_returns, random_returns
from compad_jax.evaluation.episodes import SELECTIONS, Episodes, make_episodes
from compad_jax.evaluation.recall import (
    Recall,
    make_reference,
    recall_curves,
    summarise_recall,
)
from compad_jax.evaluation.result_files import (
    check_directory,
    replacing_evaluation,
    write_curve,
    write_summary,
)
from compad_jax.evaluation.shown_life import lives_to_show
from compad_jax.evaluation.statistics import (
    Returns,
    Source,
    mean_fraction,
    no_source,
    source_returns,
    summarise,
)
from compad_jax.histories.collection import load_histories
from compad_jax.models import make_policy
from compad_jax.training.criteria import original_criteria
from compad_jax.training.metrics_log import log_evaluation, read_metrics, require_logged
from compad_jax.training.restore import MakePolicy, restore_policy, restore_trained
from compad_jax.training.run_directory import TEST_SETTINGS, check_workdir


def evaluate(
    config: Config, workdir: str, make_policy: MakePolicy = make_policy, checkpoint: str = ""
) -> list[str]:
    """Rolls the trained policy out and writes what it achieved.

    Args:
        config: all settings; `eval` says what to run.
        workdir: run directory with checkpoints.
        make_policy: an experiment may act with another policy on the same parameters.
        checkpoint: a shipped agent to be evaluated instead; the results are in `workdir` all the
            same, without what its source earned.

    Returns:
        The directories written, one for greedy and one for sampled actions; each has
        `summary.json`, `curve.csv` and `life.json`.

    Raises:
        ConfigError: nothing, or something else, was trained in `workdir`, its log was lost, or a
            different evaluation would be replaced; nothing has been played then.
    """
    env = make_env(config.env)
    shipped = trained_directory(checkpoint) if checkpoint else None
    if shipped and is_shipped(shipped):
        trained = check_workdir(config, str(shipped))
        policy, step, params, _ = restore_trained(checkpoint)
    else:
        trained, shipped = check_workdir(config, workdir), None
        policy, step, params = restore_policy(config, workdir, config.eval.checkpoint, make_policy)
        require_logged(workdir, step)
    directories = [
        os.path.join(workdir, "eval", _name(config, trained, s, step)) for s in SELECTIONS
    ]
    for directory in directories:
        check_directory(directory, step, to_dict(config))
    indices, tasks = tasks_of(env, config.env, config.eval.split)
    played = make_episodes(config, policy, env, tasks, config.eval.num_episodes)(params)
    optimum = optimal_returns(env, tasks)
    source = no_source(len(indices)) if shipped else source_of(trained, indices)
    if not processes.is_primary():
        return directories  # Process 0 writes them.
    reference = make_reference(env, tasks)
    facts = _facts(config, workdir, env, played) | {
        **_at_random(env, tasks, optimum),
        "num_tasks": len(indices),
        "step": step,
        "num_parameters": sum(x.size for x in jax.tree.leaves(params)),
    }
    metrics = read_metrics(workdir)
    lives = lives_to_show(config, policy, jax.tree.map(sharding.fetch, params))
    for index, (selection, directory) in enumerate(zip(SELECTIONS, directories, strict=True)):
        outcome = Returns(played.returns[index], optimum)
        compressions, lengths = played.num_compressions[index], played.lengths[index]
        recall = played.recall and Recall(*(x[index] for x in played.recall))
        criteria = original_criteria(metrics, outcome.returns, config, env.spec.num_actions)
        summary = {
            "name": os.path.basename(directory),
            "action_selection": selection,
            **facts,
            **summarise(outcome, tasks, source),
            **summarise_recall(recall, reference),
            "mean_episode_length": float(lengths.mean()),
            "num_compressions": int(compressions.max()),
            "criteria": criteria,
        }
        more = recall_curves(recall, reference) if recall else {}
        with replacing_evaluation(directory, step, to_dict(config)):
            files.write_json(os.path.join(directory, "life.json"), lives[index], indent=None)
            write_curve(directory, outcome, source, lengths, compressions, more)
            write_summary(directory, summary)  # Last: where it is, the evaluation is whole.
        log_evaluation(workdir, step, summary)
    return directories


def source_of(config: Config, indices: np.ndarray) -> Source:
    """What the source earned on tasks, int [G], by `env` and `source` of the settings."""
    tasks, places = np.unique(indices, return_inverse=True)
    steps = load_histories(config, tasks).transition
    return source_returns(np.asarray(steps.reward)[places], np.asarray(steps.done)[places])


def _name(config: Config, trained: Config, selection: str, step: int) -> str:
    """Of the directory; it tells what differs from the training's settings and last step."""
    parts = [config.eval.split, selection, str(config.eval.num_episodes)]
    parts += [] if step == trained.train.train_timesteps else [f"step-{step}"]
    for name in TEST_SETTINGS:
        value = getattr(config.env, name)
        parts += [] if value == getattr(trained.env, name) else [f"{name}={value}"]
    return "-".join(parts)


def _facts(config: Config, workdir: str, env: Env, played: Episodes) -> dict[str, Any]:
    """What was evaluated, how fast, and where."""
    return {
        "run": workdir,
        "method": "CompAD" if config.model.remembers else "AD",
        "env": config.env.name,
        "source": config.source.name,
        "split": config.eval.split,
        "num_seeds": config.eval.num_seeds,
        "num_episodes": config.eval.num_episodes,
        "horizon": env.spec.horizon,
        "max_compress_length": config.data.max_compress_length,
        "max_uncompressed_length": config.data.max_uncompressed_length,
        "env_steps_per_second": played.steps_per_second,
        "late_to_early_step_time": played.late_to_early,
        "hardware": provenance.describe_hardware(),
        "versions": provenance.describe_versions(),
        "commit": provenance.describe_commit(),
        "config": to_dict(config),
    }


def _at_random(env: Env, tasks: Any, optimum: np.ndarray | None) -> dict[str, float | None]:
    """What uniformly random actions earn, where that is known."""
    at_random = random_returns(env, tasks)
    if at_random is None:
        return {"random_mean_return": None, "random_fraction_of_optimum": None}
    return {
        "random_mean_return": float(at_random.mean()),
        "random_fraction_of_optimum": mean_fraction(at_random[:, None], optimum),
    }
