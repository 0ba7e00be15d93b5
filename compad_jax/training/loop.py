"""The training job: histories in, checkpoints and metrics out; goes on where it stopped."""

from functools import partial
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from compad_jax.backend import processes, sharding
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config import Config
from compad_jax.models import init_params
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.criteria import training_criteria
from compad_jax.training.divergence import marked
from compad_jax.training.made_of import MadeOf
from compad_jax.training.metrics_log import open_logger, read_metrics, require_logged
from compad_jax.training.progress import Progress, require_finite
from compad_jax.training.restore import placed_shapes, restore_policy, warm_start
from compad_jax.training.run_card import log_card
from compad_jax.training.run_directory import claimed
from compad_jax.training.setup import Builders, TrainingSetup, set_up
from compad_jax.training.signals import Interrupted, stop_requests
from compad_jax.training.step import TrainState
from compad_jax.training.validation import make_validation, score


def train(
    config: Config,
    workdir: str,
    builders: Builders = Builders(),  # noqa: B008 - immutable.
    stopwatch: Stopwatch | None = None,
) -> None:
    """Trains, or goes on training, until `train_timesteps`.

    The result depends on the settings only, not on interruptions: step n draws all its
    randomness from fold_in(key, n), and lines logged after the last checkpoint are dropped.

    Args:
        config: all settings.
        workdir: run directory; made if missing.
        builders: how the policy and the sampler are made.
        stopwatch: measures the phases collect and compile, side by side, and train.

    Raises:
        ConfigError: `workdir` holds a run with other settings or on other histories or has lost
            its log, another process trains there, or the data are unusable.
        Interrupted: SIGTERM or Ctrl-C arrived; a checkpoint was saved first.
        FloatingPointError: the training diverged; the last checkpoint is from before.
    """
    stopwatch = stopwatch or Stopwatch()
    with claimed(config, workdir), Checkpoints(workdir) as checkpoints:
        if _is_finished(config, workdir, checkpoints, builders):
            require_logged(workdir, config.train.train_timesteps)
            print(f"{workdir}: training is finished ({config.train.train_timesteps} steps)")
            return
        mesh = sharding.make_mesh()
        setup = set_up(config, mesh, builders, stopwatch)
        state = _restore(config, checkpoints, setup)
        num_parameters = sum(x.size for x in jax.tree.leaves(state.params))
        print(f"{workdir}: {num_parameters:,} parameters, at step {int(state.step)}", flush=True)
        log_card(workdir, config, num_parameters, int(state.step))
        with stopwatch.phase("train"), marked(workdir):
            _loop(config, workdir, state, setup, checkpoints)


def _is_finished(
    config: Config, workdir: str, checkpoints: Checkpoints, builders: Builders
) -> bool:
    """Whether the parameters after the last step are there, and whole."""
    last = config.train.train_timesteps
    if last not in checkpoints.steps:
        return False
    return restore_policy(config, workdir, make_policy=builders.make_policy)[1] == last


def _restore(config: Config, checkpoints: Checkpoints, setup: TrainingSetup) -> TrainState:
    """The newest saved state, or the first one where there is none."""
    like = _without_params(setup.first_state)
    restored = checkpoints.restore_latest(placed_shapes(setup.policy), like, setup.made_of)
    if restored:
        _, params, others = restored
        return setup.init(params)._replace(**others)
    if config.train.init_from:
        params = init_params(setup.policy, setup.keys.params)
        return setup.init(warm_start(params, config.train))
    return setup.first_state


def _loop(
    config: Config,
    workdir: str,
    state: TrainState,
    setup: TrainingSetup,
    checkpoints: Checkpoints,
) -> None:
    """Dispatches steps, measures and saves, until the last step or a signal."""
    settings, step = config.train, int(state.step)
    validate = make_validation(
        config, setup.policy, setup.sample, setup.data.measured, setup.keys.validation
    )
    judge = partial(training_criteria, config=config, num_actions=setup.policy.spec.num_actions)
    silent, total = not processes.is_primary(), settings.train_timesteps
    bar = tqdm(total=total, initial=step, unit="step", mininterval=1, disable=silent)
    agree, stopped_by = processes.Agreement(sharding.make_mesh()), 0
    processes.barrier("the first step")
    with bar, open_logger(workdir, step) as logger, stop_requests() as stop:
        progress = Progress(logger, bar, settings.log_every)
        while step < settings.train_timesteps:
            state, metrics = setup.train_steps(state, setup.data.train(step), setup.keys.steps)
            step += settings.log_every
            progress.push(step, metrics)
            is_measured = step == settings.train_timesteps or step % settings.eval_every == 0
            if is_measured:
                metrics = progress.measure(partial(validate, state.params))
            # Read once: a later signal finds the state saved, too.
            stopped_by = agree(stop.number or 0)
            # What was measured is saved, or the best checkpoint could not be kept.
            if is_measured or stopped_by or step % settings.checkpoint_every == 0:
                progress.flush()
                if processes.is_primary():
                    logger.write_criteria(step, judge(read_metrics(workdir)))
                _save(checkpoints, step, state, score(metrics), setup.made_of)
            if stopped_by:
                break
    # Read again: the last save may have taken its time.
    stopped_by = stopped_by or stop.number or 0
    if stopped_by:
        raise Interrupted(f"stopped at step {step:,}; all is saved in {workdir}", stopped_by)


def _save(
    checkpoints: Checkpoints, step: int, state: TrainState, how_good: float, made_of: MadeOf
) -> None:
    """Saves a state that can be gone on from; raises if it diverged."""
    parts = state.params, _without_params(state)
    on_host = jax.device_get(parts)
    # Squared, as the next step will do: what then overflows is lost already.
    with np.errstate(over="ignore"):
        squares = [np.square(x, dtype=np.float32) for x in jax.tree.leaves(on_host[0])]
    require_finite(step, "a parameter", *squares)
    require_finite(step, "the optimiser's state", *jax.tree.leaves(on_host[1]))
    # Of arrays on several devices Orbax cuts a piece for each to write, which takes longer.
    params, others = on_host if processes.count() == 1 else parts
    checkpoints.save(step, params, others, how_good, made_of)


def _without_params(state: TrainState) -> dict[str, Any]:
    """What a checkpoint keeps beside the parameters, by field of the state."""
    return {"step": state.step, "opt_state": state.opt_state}
