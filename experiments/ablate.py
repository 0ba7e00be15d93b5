"""Runs an experiment: arms x seeds on equal budgets; table, figure and a line a run.

    python -m experiments.ablate --suite why_it_failed
    python -m experiments.ablate --suite wait_room --arms slot_gate replace --seeds 0

Started again it goes on: a training under way resumes, a finished run is not repeated.
"""

import argparse
import hashlib
import importlib
import json
import os
import pkgutil
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from compad_jax.backend import process
from compad_jax.backend.files import parse_json, require_fields, temporary_name, write_text
from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError, differences, require
from compad_jax.config.command_line import load_config, one_line_errors
from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.histories.sampler import plan_segments
from compad_jax.reports.finished_runs import load
from compad_jax.training.loop import train
from compad_jax.training.metrics_log import read_metrics
from compad_jax.training.signals import Interrupted
from experiments import suites
from experiments.suites import Arm, Condition, Suite

_LINES = "results.jsonl"
_PRECISION = "model.dtype=float32"  # On every hardware, so that an arm means the same there.
_LOGGED = ("loss", "floor", "accuracy")
_RECALL = (
    "num_episodes",
    "direct_fraction",
    "direct_fraction_ci95",
    "decision_regret",
    "decision_regret_ci95",
    "recall_regret",
    "recall_regret_ci95",
    "mean_return",
    "fraction_of_optimum",
    "num_compressions",
    "env_steps_per_second",
    "curve",
)
_RETURNS = (
    "mean_return",
    "fraction_of_optimum",
    "final_fraction_of_optimum",
    "episodes_to_90_percent",
    "per_task",
    "criteria",
    "curve",
)


def load_suite(name: str) -> Suite:
    """Finds a suite by name.

    Raises:
        ConfigError: there is no such suite.
    """
    known = [module.name for module in pkgutil.iter_modules(suites.__path__)]
    if name not in known:
        raise ConfigError(f"--suite {name}: known are {', '.join(known)}")
    return importlib.import_module(f"{suites.__name__}.{name}").SUITE


def configure_run(suite: Suite, arm: Arm, seed: int, runs: str = "") -> Config:
    """The settings of a run: the suite's, the arm's, and as many steps as the budget buys.

    Args:
        suite: the experiment.
        arm: one of its arms.
        seed: of the training and the evaluation.
        runs: directory of the run directories.

    Returns:
        The settings.
    """
    path = arm.config or suite.config
    fixed = (_PRECISION, f"train.seed={seed}", f"eval.seed={seed}")
    overrides = (*suite.overrides, *arm.overrides, *fixed)
    if arm.starts_from:
        run = os.path.join(runs, f"{arm.starts_from}-{seed}")
        overrides = (*overrides, f"train.init_from={run}")
    config = load_config(path, overrides)
    parts = suite.measurements
    part = round(suite.num_tokens / tokens_a_step(config) / parts / config.train.log_every)
    steps = parts * part * config.train.log_every
    budget = (
        f"train.train_timesteps={steps}",
        f"train.eval_every={steps // parts}",
        f"optimizer.num_warmup_steps={round(suite.warmup_ratio * steps)}",
    )
    return load_config(path, (*overrides, *budget))


def under(arm: Arm, condition: Condition) -> Arm:
    """The arm with the settings of a condition."""
    return arm._replace(overrides=(*arm.overrides, *condition.overrides))


def tokens_a_step(config: Config) -> float:
    """Expected number of targets in a batch."""
    plan = plan_segments(config)
    expected = (sum(plan.min_lengths) + sum(plan.max_lengths)) / 2
    window = min(expected, config.source.num_steps) if plan.whole_history else expected
    return config.train.train_batch_size * window


def run_suite(
    name: str,
    suite: Suite,
    runs: str,
    results: str,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> None:
    """Runs what is missing and rewrites the report after every run.

    Args:
        name: of the suite.
        suite: what to run.
        runs: directory of the run directories.
        results: directory of `results.jsonl` and the report.
        arms: names of those to run now; None: all.
        seeds: those to run now; None: all.

    Raises:
        ConfigError: a finished run was made with other settings, or an arm or seed is unknown.
    """
    known = [arm.name for arm in suite.arms]
    for arm_name in arms or ():
        require(arm_name in known, f"--arms {arm_name}: known are {', '.join(known)}")
    for number in seeds or ():
        require(number in suite.seeds, f"--seeds {number}: the suite has {suite.seeds}")
    os.makedirs(results, exist_ok=True)
    path = os.path.join(results, _LINES)
    for seed in seeds or suite.seeds:
        for arm in (arm for arm in suite.arms if not arms or arm.name in arms):
            config = configure_run(suite, arm, seed, runs)
            if _is_finished(path, config, arm, seed):
                continue
            workdir = os.path.join(runs, f"{arm.name}-{seed}")
            if arm.trained_as:
                _copy_training(os.path.join(runs, f"{arm.trained_as}-{seed}"), workdir)
            line = {"suite": name, "arm": arm.name, "label": arm.label, "seed": seed}
            tests = {
                condition.name: configure_run(suite, under(arm, condition), seed, runs)
                for condition in (*suite.conditions, *arm.conditions)
            }
            line |= run_arm(config, arm, workdir, tests)
            lines = [*read_lines(path), line | {"fingerprint": _fingerprint(config)}]
            write_text(path, "".join(f"{json.dumps(x, allow_nan=False)}\n" for x in lines))
            write_report(suite, read_lines(path), results)


def run_arm(config: Config, arm: Arm, workdir: str, tests: dict[str, Config]) -> dict[str, Any]:
    """Trains, evaluates by `tests` or, if there is none, as trained; returns what to say of it."""
    start = time.monotonic()
    train(config, workdir, arm.builders)
    trained = time.monotonic()
    metrics = read_metrics(workdir)[-1]
    returns: dict[str, Any]
    if tests:
        evaluations = {name: _evaluate(tested, arm, workdir) for name, tested in tests.items()}
        any_summary = next(iter(evaluations.values()))["sample"]
        returns = {
            "conditions": {
                name: {selection: _pick(s, _RECALL) for selection, s in summaries.items()}
                for name, summaries in evaluations.items()
            }
        }
    else:
        summaries = _evaluate(config, arm, workdir)
        any_summary = summaries["sample"]
        returns = {selection: _pick(s, _RETURNS) for selection, s in summaries.items()}
    return {
        "steps": config.train.train_timesteps,
        "tokens": round(config.train.train_timesteps * tokens_a_step(config)),
        "overrides": arm.overrides,
        "train_seconds": round(trained - start, 1),
        "evaluate_seconds": round(time.monotonic() - trained, 1),
        **_pick(any_summary, ("num_parameters", "hardware", "versions", "commit")),
        "train": _pick(metrics, _LOGGED),
        "held_out": {key: metrics[f"held_out_{key}"] for key in _LOGGED},
        **returns,
    }


def _evaluate(config: Config, arm: Arm, workdir: str) -> dict[str, Any]:
    """The summaries of an evaluation, by action selection, with the share of each episode."""
    summaries = {}
    for directory in evaluate(config, workdir, arm.act_with):
        summary, curve = load(directory)
        shares = [None if np.isnan(x) else float(x) for x in curve["fraction"]]
        summaries[summary["action_selection"]] = summary | {"curve": shares}
    return summaries


def _pick(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names}


def write_report(suite: Suite, lines: list[dict[str, Any]], directory: str) -> str:
    """Writes the table and the figure of the runs finished so far; returns the table."""
    report = importlib.import_module(f"experiments.{suite.report}")
    return report.write(suite, lines, directory)


def read_lines(path: str) -> list[dict[str, Any]]:
    """The finished runs; none where nothing was run yet."""
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        return [_parse_line(path, *item) for item in enumerate(file, start=1)]


def _parse_line(path: str, number: int, text: bytes) -> dict[str, Any]:
    """A finished run; a ConfigError if a line is none."""
    where, advice = f"{path}, line {number}", "bring back a copy, or delete the line"
    try:
        line = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{where}: is not JSON; {advice}") from error
    require_fields(where, line, {"arm": str, "seed": int, "fingerprint": str}, advice)
    return line


def _is_finished(path: str, config: Config, arm: Arm, seed: int) -> bool:
    """Whether the run is among the lines."""
    for line in read_lines(path):
        if (line["arm"], line["seed"]) == (arm.name, seed):
            if line["fingerprint"] != _fingerprint(config):
                run = f"{arm.name}, seed {seed}"
                raise ConfigError(f"{path}: {run} was made with other settings; move it away")
            return True
    return False


def _fingerprint(config: Config) -> str:
    """Of the settings that are not the defaults, so that a new setting leaves old runs valid."""
    changed = differences(to_dict(Config()), to_dict(config))
    changed = [item for item in changed if item[0] != _PRECISION.split("=")[0]]
    text = json.dumps([(name, value) for name, _, value in changed])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _copy_training(trained: str, workdir: str) -> None:
    """A run directory of its own for another evaluation of the same training."""
    if not os.path.exists(workdir):
        partial = temporary_name(workdir)
        try:
            shutil.copytree(trained, partial, ignore=shutil.ignore_patterns("eval", "tensorboard"))
            os.replace(partial, workdir)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def main() -> None:
    """Parses the command line and runs a suite."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", required=True, help="its name")
    parser.add_argument("--runs", help="directory of the trainings (runs/SUITE)")
    parser.add_argument("--results", help="directory of the report (results/SUITE)")
    parser.add_argument("--arms", nargs="+", help="those to run now (all)")
    parser.add_argument("--seeds", nargs="+", type=int, help="those to run now (all)")
    arguments = parser.parse_args()
    name = arguments.suite
    with one_line_errors():
        suite = load_suite(name)
        process.configure(configure_run(suite, suite.arms[0], 0).train.train_batch_size)
        runs = arguments.runs or os.path.join("runs", name)
        results = arguments.results or os.path.join("results", name)
        try:
            run_suite(name, suite, runs, results, arguments.arms, arguments.seeds)
        except (Interrupted, KeyboardInterrupt) as stopped:
            print(f"{stopped or 'stopped'}; the same command goes on")
            sys.exit(getattr(stopped, "exit_code", 130))
        else:
            print(write_report(suite, read_lines(os.path.join(results, _LINES)), results))


if __name__ == "__main__":
    main()
