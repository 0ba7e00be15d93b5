"""What to run when training looks stuck: measures the data, then the run, and judges both.

    python -m compad_jax.diagnose --config configs/small.py [--workdir runs/small]

Needs only histories, which it collects if there are none; looks at a trained run where
there is one. Writes `diagnosis/diagnosis.json` and `diagnosis.png` into the run directory.
"""

import json
import os
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from compad_jax.backend import process
from compad_jax.config import Config, to_dict
from compad_jax.config.command_line import Arguments
from compad_jax.diagnose.data import (
    Draws,
    Facts,
    describe_loss,
    describe_sampling,
    describe_source,
    draw_windows,
    step_quantities,
)
from compad_jax.diagnose.figure import save_figure, title_of
from compad_jax.diagnose.policy import describe_policy, gradient_norms, token_losses
from compad_jax.diagnose.verdicts import judge, source_gain
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks
from compad_jax.histories.collection import load_histories
from compad_jax.histories.dataset import Dataset, make_datasets
from compad_jax.histories.sampler import Sampler
from compad_jax.training.checkpoints import has_checkpoint
from compad_jax.training.loop import Parts, check_workdir
from compad_jax.training.losses import loss_floor
from compad_jax.training.restore import restore_policy
from compad_jax.types import History

_NUM_BATCHES = 32


def main(arguments: Arguments) -> None:
    """Diagnoses and shows what was found."""
    process.configure(1)  # One device: no batch is shared out here.
    facts = diagnose(arguments.config, arguments.workdir)
    print("\n".join(table(facts)))
    print(os.path.join(facts["workdir"], "diagnosis", "diagnosis.png"))


def diagnose(config: Config, workdir: str, parts: Parts = Parts()) -> Facts:  # noqa: B008
    """Measures, judges and writes both files; an older diagnosis is replaced.

    Args:
        config: all settings.
        workdir: run directory; without a checkpoint in it, only the data are diagnosed.
        parts: how an experiment makes its sampler and its policy.

    Returns:
        What `diagnosis.json` holds.

    Raises:
        ConfigError: the run has other settings, or its data or checkpoint are unusable.
    """
    if os.path.exists(os.path.join(workdir, "config.json")):
        check_workdir(config, workdir)
    facts = _measure(config, workdir, parts)
    facts["verdicts"] = [verdict._asdict() for verdict in judge(facts)]
    directory = os.path.join(workdir, "diagnosis")
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "diagnosis.json"), "w", encoding="utf-8") as file:
        json.dump(facts, file, indent=2)
        file.write("\n")
    save_figure(facts, os.path.join(directory, "diagnosis.png"))
    return facts


def _measure(config: Config, workdir: str, parts: Parts) -> Facts:
    """All numbers; those of the run are None before a training."""
    env = make_env(config.env)
    history, sample = load_histories(config), parts.make_sampler(config)
    split = split_tasks(len(history.transition.action), config.env)
    train = _draw(config, history, split.train, sample, jax.random.key(0))
    has_memory = config.model.remembers
    num_steps, num_actions = config.source.num_steps, env.spec.num_actions
    run = None
    if has_checkpoint(workdir):
        held_out = _draw(config, history, split.held_out, sample, jax.random.key(1))
        run = _measure_run(config, workdir, parts, train.draws, held_out.draws)
    return {
        "workdir": workdir,
        "has_memory": has_memory,
        "source": describe_source(config, split.train, train.quantities["entropy"]),
        "sampling": describe_sampling(train.draws, num_steps, has_memory=has_memory),
        "loss": describe_loss(train.draws, train.dataset, num_actions, has_memory=has_memory),
        "run": run,
        "config": to_dict(config),
    }


class _Windows(NamedTuple):
    """A part of the split, and windows drawn from it."""

    dataset: Dataset
    quantities: dict[str, jax.Array]
    draws: Draws


def _draw(
    config: Config, history: History, tasks: np.ndarray, sample: Sampler, key: jax.Array
) -> _Windows:
    """Windows of some tasks, with all that is known of their targets."""
    floor_fn = partial(loss_floor, smoothing=config.optimizer.label_smoothing)
    dataset = make_datasets(history, {"": tasks}, floor_fn)[""]
    quantities = step_quantities(history, tasks)
    draws = draw_windows(sample, dataset, quantities, key, num_batches=_NUM_BATCHES)
    return _Windows(dataset, quantities, draws)


def _measure_run(
    config: Config, workdir: str, parts: Parts, train: Draws, held_out: Draws
) -> Facts:
    """What the policy makes of both parts of the split, and its gradient on a training batch."""
    which, smoothing = config.eval.checkpoint, config.optimizer.label_smoothing
    policy, step, params = restore_policy(config, workdir, which, parts.make_policy)
    params = jax.device_put(params, jax.devices()[0])
    measure = jax.jit(partial(token_losses, policy, smoothing=smoothing))
    describe = partial(describe_policy, measure, params, has_memory=config.model.remembers)
    batch = jax.tree.map(lambda x: x[0], train.segments)
    return {
        "step": step,
        "train": describe(train),
        "held_out": describe(held_out),
        "gradient_norm": gradient_norms(policy, params, batch, smoothing),
    }


def table(facts: Facts) -> Iterator[str]:
    """Lines for the terminal: the numbers, then the verdicts, problems marked with `!`."""
    yield title_of(facts)
    rows = [*_data_rows(facts), *(_run_rows(facts["run"]) if facts["run"] else [])]
    for name, text in rows:
        yield f"  {name:<34}{text}"
    for verdict in facts["verdicts"]:
        yield f"{'!' if verdict['is_problem'] else '-'} {verdict['text']}"


def _data_rows(facts: Facts) -> list[tuple[str, str]]:
    sampling, loss, source = facts["sampling"], facts["loss"], facts["source"]
    curve, entropy = source["fraction_of_optimum"], source["entropy"]
    lengths = [int(n) for n in sampling["segment_lengths"]]
    gain = "{:.0%} to {:.0%} of ".format(*source_gain(curve)) if curve else "no episode"
    gain += source["relative_to"] if curve else ""
    return [
        (f"source, {source['name']}", f"{gain}, {len(curve)} episodes"),
        ("entropy of the source", f"{entropy[0]:.2f} to {entropy[-1]:.2f} nats"),
        ("targets from each tenth", _percents(sampling["targets_by_tenth"])),
        ("targets at each depth", _percents(sampling["targets_by_depth"])),
        ("segment lengths", f"{min(lengths)} to {max(lengths)}"),
        ("windows without a reward", f"{sampling['windows_without_reward']:.1%}"),
        ("targets that have seen a reward", f"{sampling['targets_after_reward']:.1%}"),
        ("padding", f"{sampling['padding']:.1%} of the positions"),
        ("loss of uniform guesses", f"{loss['uniform']:.3f} nats"),
        ("floor of the training targets", f"{loss['floor']:.3f} nats"),
        ("floor of whole histories", f"{loss['floor_of_whole_histories']:.3f} nats"),
        ("floor without label smoothing", f"{loss['entropy']:.3f} nats"),
        ("best reachable accuracy", f"{loss['best_accuracy']:.1%}"),
    ]


def _run_rows(run: Facts) -> list[tuple[str, str]]:
    rows = []
    for name, part in (("training", run["train"]), ("held-out", run["held_out"])):
        rows.append((f"{name} loss (its floor)", f"{part['loss']:.3f} ({part['floor']:.3f}) nats"))
        rows.append((f"{name} accuracy", f"{part['accuracy']:.1%}"))
    rows += [(f"gradient norm, {part}", f"{x:.3g}") for part, x in run["gradient_norm"].items()]
    memory = run["held_out"]["memory"] or {}
    names = {"as_is": "its memory", "zeroed": "zeros", "of_another_task": "that of another task"}
    return rows + [(f"loss with {names[k]}", f"{memory[k]:.3f} nats") for k in names if k in memory]


def _percents(shares: list[float]) -> str:
    """Shares in short; the middle is left out where there are many."""
    texts = [f"{100 * share:.0f}" for share in shares]
    if len(texts) > 12:
        texts = [*texts[:6], "..", *texts[-5:]]
    return " ".join(texts) + " %"
