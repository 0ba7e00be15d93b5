"""The training job: histories in, checkpoints and metrics out; goes on where it stopped."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from compad_jax.backend import sharding
from compad_jax.backend.process import no_garbage_collection
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config import Config, load_json, save_json, to_dict
from compad_jax.config.checks import ConfigError, require_equal
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks, tasks_of
from compad_jax.histories.collection import load_histories
from compad_jax.histories.dataset import Dataset, dataset_shapes, make_datasets
from compad_jax.histories.sampler import Sampler, make_sampler
from compad_jax.models import Params, Policy, init_params, make_policy
from compad_jax.models.memory import memory_factory
from compad_jax.sources import make_source
from compad_jax.training.checkpoints import Checkpoints, has_checkpoint
from compad_jax.training.criteria import Criterion, training_criteria
from compad_jax.training.losses import loss_floor
from compad_jax.training.metrics_log import MetricsLogger, read_metrics
from compad_jax.training.optimizer import make_optimizer
from compad_jax.training.progress import Progress
from compad_jax.training.restore import MakePolicy, placed_shapes, restore_policy, warm_start
from compad_jax.training.step import TrainState, make_init, make_train_steps, make_unpack
from compad_jax.training.validation import make_validation, score


class Interrupted(Exception):
    """A signal asked the run to stop; everything is saved."""


TrainSteps = Callable[[TrainState, Dataset, jax.Array], tuple[TrainState, dict[str, jax.Array]]]


class Parts(NamedTuple):
    """What an experiment may build differently."""

    make_policy: MakePolicy = make_policy
    make_sampler: Callable[[Config], Sampler] = make_sampler


def train(
    config: Config,
    workdir: str,
    parts: Parts = Parts(),  # noqa: B008 - immutable.
    stopwatch: Stopwatch | None = None,
) -> None:
    """Trains, or goes on training, until `train_timesteps`.

    The result depends on the settings only, not on interruptions: step n draws all its
    randomness from fold_in(key, n), and lines logged after the last checkpoint are dropped.

    Args:
        config: all settings.
        workdir: run directory; made if missing.
        parts: how the policy and the sampler are made.
        stopwatch: measures the phases collect and compile, side by side, and train.

    Raises:
        ConfigError: `workdir` holds a run with other settings, or the data are unusable.
        Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint was saved first.
        FloatingPointError: the loss is not finite; the last checkpoint is from before.
    """
    claim_workdir(config, workdir)
    stopwatch = stopwatch or Stopwatch()
    with Checkpoints(workdir) as checkpoints:
        if _is_finished(config, workdir, checkpoints, parts):
            print(f"{workdir}: training is finished ({config.train.train_timesteps} steps)")
            return
        mesh = sharding.make_mesh()
        sharding.check_batch_size(config.train.train_batch_size, mesh)
        ready = prepare(config, mesh, parts, stopwatch)
        state = _restore(config, checkpoints, ready)
        num_parameters = sum(x.size for x in jax.tree.leaves(state.params))
        print(f"{workdir}: {num_parameters:,} parameters, at step {int(state.step)}", flush=True)
        _, step_key, measure_key = _keys(config)
        validate = make_validation(config, ready.policy, ready.sample, ready.datasets, measure_key)
        num_actions = ready.policy.spec.num_actions
        job = _Job(
            train_steps=ready.train_steps,
            dataset=ready.datasets["train"],
            key=step_key,
            unpack=make_unpack(ready.policy),
            validate=validate,
            judge=lambda rows: training_criteria(rows, config, num_actions),
        )
        with stopwatch.phase("train"):
            _loop(config, workdir, state, job, checkpoints)


def _is_finished(config: Config, workdir: str, checkpoints: Checkpoints, parts: Parts) -> bool:
    """Whether the parameters after the last step are there, and whole."""
    last = config.train.train_timesteps
    if last not in checkpoints.steps:
        return False
    return restore_policy(config, workdir, make_policy=parts.make_policy)[1] == last


class Ready(NamedTuple):
    """What must be there before a first step."""

    policy: Policy
    sample: Sampler
    init: Callable[[Params], TrainState]
    state: TrainState  # Before any training.
    train_steps: TrainSteps  # Compiled.
    datasets: dict[str, Dataset]  # See `load_datasets`.


def prepare(config: Config, mesh: jax.sharding.Mesh, parts: Parts, stopwatch: Stopwatch) -> Ready:
    """Collects the histories, where there are none yet, while the training step compiles.

    Args:
        config: all settings.
        mesh: the devices.
        parts: how the policy and the sampler are made.
        stopwatch: measures collect and compile.

    Returns:
        All that training needs and a restored checkpoint does not change.
    """
    env = make_env(config.env)
    policy, sample = parts.make_policy(config, env.spec), parts.make_sampler(config)
    num_tasks = len(tasks_of(env, config.env, "train")[0])
    dataset = dataset_shapes(config, env.spec, num_tasks, mesh)

    init_key, step_key, _ = _keys(config)
    optimizer = make_optimizer(config.optimizer, config.train.train_timesteps)
    init = make_init(optimizer, mesh)

    @stopwatch.phase("compile")
    def compile_steps() -> tuple[TrainState, TrainSteps]:
        state = init(init_params(policy, init_key))
        train_steps = make_train_steps(policy, optimizer, sample, config, mesh)
        args = (state, dataset, step_key)
        return state, train_steps.lower(*args).compile()

    # The main thread collects: that may take minutes, and only there can Ctrl-C stop it.
    with no_garbage_collection(), ThreadPoolExecutor(1) as pool:
        compiled = pool.submit(compile_steps)
        with stopwatch.phase("collect"):
            datasets = load_datasets(config, mesh)
        return Ready(policy, sample, init, *compiled.result(), datasets)


def _keys(config: Config) -> list[jax.Array]:
    """PRNG keys [3]: of the first parameters, of the steps, of what is measured."""
    words = np.random.SeedSequence(config.train.seed).generate_state(6).reshape(3, 2)
    return [jax.random.wrap_key_data(jnp.asarray(pair), impl="threefry2x32") for pair in words]


class _Job(NamedTuple):
    """What the loop calls, and what with."""

    train_steps: TrainSteps
    dataset: Dataset
    key: jax.Array
    unpack: Callable[[dict[str, jax.Array]], Params]
    validate: Callable[[Params], dict[str, Any]]
    judge: Callable[[list[dict[str, Any]]], list[Criterion]]  # Of the lines logged so far.


def _loop(
    config: Config, workdir: str, state: TrainState, job: _Job, checkpoints: Checkpoints
) -> None:
    """Dispatches steps, measures and saves, until the last step or a signal."""
    settings, step = config.train, int(state.step)
    bar = tqdm(total=settings.train_timesteps, initial=step, unit="step", mininterval=1)
    with bar, MetricsLogger(workdir, step) as logger, _stop_requests() as stop:
        progress = Progress(logger, bar, settings.log_every)
        while step < settings.train_timesteps:
            state, metrics = job.train_steps(state, job.dataset, job.key)
            step += settings.log_every
            last = step == settings.train_timesteps
            progress.push(step, metrics)
            if last or step % settings.eval_every == 0:
                metrics = progress.measure(partial(job.validate, job.unpack(state.params)))
            if last or stop or step % settings.checkpoint_every == 0:
                progress.flush()
                logger.write_criteria(step, job.judge(read_metrics(workdir)))
                params = job.unpack(state.params)
                checkpoints.save(step, params, _rest(state), score(metrics))
            if stop and not last:
                raise Interrupted(f"stopped at step {step:,}; all is saved in {workdir}")


def claim_workdir(config: Config, workdir: str) -> None:
    """Writes the settings into a new run directory, or compares them with an old one's.

    Raises:
        ConfigError: the directory belongs to a run that was trained differently, or to one
            whose settings are not known.
    """
    make_source(config.source, make_env(config.env))  # Unknown names fail before any file.
    memory_factory(config.model)
    path = os.path.join(workdir, "config.json")
    if not os.path.exists(path):
        if has_checkpoint(workdir):  # Moved here, or made before its settings were lost.
            raise ConfigError(f"{workdir}: has checkpoints but no config.json; name another")
        os.makedirs(workdir, exist_ok=True)
        save_json(config, path)
        return
    check_workdir(config, workdir)


def check_workdir(config: Config, workdir: str) -> None:
    """Raises ConfigError unless a run with these settings, `eval` aside, lives in `workdir`."""
    path = os.path.join(workdir, "config.json")
    if not os.path.exists(path):
        raise ConfigError(f"{workdir}: nothing was trained here; run train_main.py first")
    old, new = to_dict(load_json(path)), to_dict(config)
    del old["eval"], new["eval"]  # Says nothing about the training.
    require_equal(workdir, old, new, "name another --workdir")


def load_datasets(config: Config, mesh: jax.sharding.Mesh) -> dict[str, Dataset]:
    """The histories of each part of the split, shared out over the devices.

    Args:
        config: all settings.
        mesh: the devices.

    Returns:
        Datasets train, validation and held_out; they share no task. Only `train` is
        learned from, only `validation` chooses a checkpoint; `held_out` is reported.
    """
    history = load_histories(config)
    split = split_tasks(history.transition.action.shape[0], config.env)
    floor_fn = partial(loss_floor, smoothing=config.optimizer.label_smoothing)
    return make_datasets(history, split._asdict(), floor_fn, mesh)


def _rest(state: TrainState) -> dict[str, Any]:
    """What a checkpoint keeps beside the parameters."""
    return {"step": state.step, "opt_state": state.opt_state}


def _restore(config: Config, checkpoints: Checkpoints, ready: Ready) -> TrainState:
    """The newest saved state, or the first one where there is none."""
    restored = checkpoints.restore_latest(placed_shapes(ready.policy), _rest(ready.state))
    if restored:
        _, params, rest = restored
        return ready.init(params)._replace(**rest)
    if config.train.init_from:
        params = init_params(ready.policy, _keys(config)[0])
        return ready.init(warm_start(params, config.train.init_from))
    return ready.state


class _StopRequest:
    """True once SIGTERM or Ctrl-C arrived."""

    def __init__(self) -> None:
        self._requested = False

    def __bool__(self) -> bool:
        return self._requested

    def __call__(self, *_: object) -> None:
        """The signal handler."""
        self._requested = True


@contextmanager
def _stop_requests() -> Iterator[_StopRequest]:
    """Turns the two signals into a flag, so that a step is finished and saved first."""
    request = _StopRequest()
    old = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
