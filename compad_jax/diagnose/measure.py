"""What to run when training looks stuck: measures the data, then the run, and judges both.

    python -m compad_jax.diagnose --config configs/small.py [--workdir runs/small]

Needs only histories, which it collects if there are none; looks at a trained run where
there is one. Writes `diagnosis/diagnosis.json` and `diagnosis.png` into the run directory.
"""

import os
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from compad_jax.backend import process
from compad_jax.backend.files import write_json
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
from compad_jax.diagnose.figure import save_diagnosis, title_of
from compad_jax.diagnose.policy import describe_policy, gradient_norms, token_losses
from compad_jax.diagnose.verdicts import judge
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks
from compad_jax.histories.collection import load_histories
from compad_jax.histories.dataset import Dataset, make_datasets
from compad_jax.training.checkpoints import has_checkpoint
from compad_jax.training.losses import loss_floor
from compad_jax.training.restore import restore_policy
from compad_jax.training.run_directory import check_workdir
from compad_jax.training.setup import Builders

_NUM_BATCHES = 32


def main(arguments: Arguments) -> None:
    """Diagnoses and shows what was found."""
    process.configure(1)  # One device: no batch is shared out here.
    facts = diagnose(arguments.config, arguments.workdir)
    print("\n".join(table(facts)))
    print(os.path.join(facts["workdir"], "diagnosis", "diagnosis.png"))


def diagnose(config: Config, workdir: str, builders: Builders = Builders()) -> Facts:  # noqa: B008
    """Measures, judges and writes both files; an older diagnosis is replaced.

    Without a checkpoint in the run directory, only the data are diagnosed. An experiment may build
    its sampler and its policy.

    Returns:
        What `diagnosis.json` holds.

    Raises:
        ConfigError: the run has other settings, or its data or checkpoint are unusable.
    """
    if os.path.exists(os.path.join(workdir, "config.json")):
        check_workdir(config, workdir)
    facts = _measure(config, workdir, builders)
    facts["verdicts"] = [verdict._asdict() for verdict in judge(facts)]
    directory = os.path.join(workdir, "diagnosis")
    os.makedirs(directory, exist_ok=True)
    write_json(os.path.join(directory, "diagnosis.json"), facts)
    save_diagnosis(facts, os.path.join(directory, "diagnosis.png"))
    return facts


def _measure(config: Config, workdir: str, builders: Builders) -> Facts:
    """All numbers; those of the run are None before a training."""
    num_actions = make_env(config.env).spec.num_actions
    history, sample = load_histories(config), builders.make_sampler(config)
    split = split_tasks(len(history.transition.action), config.env)
    has_memory = config.model.remembers

    def draw(tasks: np.ndarray, seed: int) -> tuple[Dataset, dict[str, jax.Array], Draws]:
        floor_fn = partial(loss_floor, smoothing=config.optimizer.label_smoothing)
        dataset = make_datasets(history, {"": tasks}, floor_fn)[""]
        quantities = step_quantities(history, tasks)
        key = jax.random.key(seed, impl="threefry2x32")
        draws = draw_windows(sample, dataset, quantities, key, num_batches=_NUM_BATCHES)
        return dataset, quantities, draws

    dataset, quantities, train = draw(split.train, 0)
    run = None
    if has_checkpoint(workdir):
        run = _measure_run(config, workdir, builders, train, draw(split.held_out, 1)[-1])
    return {
        "workdir": workdir,
        "has_memory": has_memory,
        "source": describe_source(config, history, split.train, quantities["entropy"]),
        "sampling": describe_sampling(train, config.source.num_steps, has_memory=has_memory),
        "loss": describe_loss(train, dataset, num_actions, has_memory=has_memory),
        "run": run,
        "config": to_dict(config),
    }


def _measure_run(
    config: Config, workdir: str, builders: Builders, train: Draws, held_out: Draws
) -> Facts:
    """What the policy makes of both parts of the split, and its gradient on a training batch."""
    which, smoothing = config.eval.checkpoint, config.optimizer.label_smoothing
    policy, step, params = restore_policy(config, workdir, which, builders.make_policy)
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
    """Lines for the terminal: numbers that no verdict names, then the verdicts.

    Problems are marked with `!`.
    """
    yield title_of(facts)
    for name, text in _rows(facts):
        yield f"  {name:<32}{text}"
    for verdict in facts["verdicts"]:
        yield f"{'!' if verdict['is_problem'] else '-'} {verdict['text']}"


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    sampling, loss, source = facts["sampling"], facts["loss"], facts["source"]
    lengths = [int(n) for n in sampling["segment_lengths"]]
    yield "source", f"{source['name']}, {len(source['returns'])} whole episodes"
    if source["entropy"]:
        yield "its entropy", f"{source['entropy'][0]:.2f} to {source['entropy'][-1]:.2f} nats"
        yield "floor without label smoothing", f"{loss['entropy']:.3f} nats"
    yield "segment lengths", f"{min(lengths)} to {max(lengths)}"
    yield "tokens that are targets", f"{sampling['informative']:.1%}"
    for name in ("train", "held_out") if facts["run"] else ():
        part = facts["run"][name]
        floor = "" if part["floor"] is None else f", its floor {part['floor']:.3f}"
        yield f"{name} loss", f"{part['loss']:.3f}{floor} nats; accuracy {part['accuracy']:.1%}"
