"""The two programs, as console commands and behind `train_main.py` and `eval_main.py`.

What imports JAX is imported inside the functions: signals are heard before that, and mistakes on
the command line are told at once.
"""

import os
import shlex
import sys

from compad_jax.config import Config, OptimizerConfig
from compad_jax.config.checks import ConfigError, require
from compad_jax.config.command_line import Arguments, run_program, without
from compad_jax.training import signals

TRAIN_HELP = """Does all of it: collects histories, trains, evaluates in unseen tasks, reports.

python train_main.py --config configs/small.py [--config.optimizer.lr=3e-4] [--workdir DIR]

--stopped_exit_code N: how a training ends that was stopped by Ctrl-C or SIGTERM (130 or 143), for
schedulers that start a job again after a code of its own.

`compad-train` is the same program where the package is installed.
"""
EVAL_HELP = """Evaluates a trained policy in context, or compares runs.

python eval_main.py --config configs/small.py --workdir runs/small [--config.eval.split=train]
python eval_main.py --checkpoint dark_room_wait --config.env.wait=30000
python eval_main.py --compare runs/small runs/small_ad

`compad-eval` is the same program where the package is installed.
"""


def train_program() -> None:
    """Trains or goes on training, then evaluates what was trained; reads the command line."""
    signals.listen()
    run_program(_train, TRAIN_HELP)


def eval_program() -> None:
    """Rolls out and reports, or compares finished evaluations; reads the command line."""
    signals.listen()
    run_program(_evaluate, EVAL_HELP)


def _train(arguments: Arguments) -> None:
    config, workdir = arguments.config, arguments.workdir
    if arguments.checkpoint:
        raise ConfigError("--checkpoint: is for eval_main.py; a training may --init_from a run")
    signals.choose_end(f"stopped; to go on: {_command()}", arguments.stopped_exit_code)
    from compad_jax.backend import process
    from compad_jax.training.run_directory import claimed

    process.configure(config.train.train_batch_size, quick_compile=config.train.quick_compile)
    process.require_devices()
    with claimed(config, workdir):
        _train_and_report(config, workdir)


def _train_and_report(config: Config, workdir: str) -> None:
    """The whole job in a run directory that this process owns."""
    from compad_jax.backend import processes
    from compad_jax.backend.stopwatch import Stopwatch
    from compad_jax.evaluation.evaluate_run import evaluate
    from compad_jax.training.loop import train

    stopwatch = Stopwatch()
    timing = os.path.join(workdir, "timing.json")
    if processes.is_primary():
        stopwatch.save(timing, is_last=False)
    try:
        train(config, workdir, stopwatch=stopwatch)
        with stopwatch.phase("evaluate"):
            directories = evaluate(config, workdir)
        if not processes.is_primary():
            return
        with stopwatch.phase("report"):
            # Imported only now: figures would delay the first step.
            from compad_jax.reports import evaluation_page
            from compad_jax.reports.training_curve import write_training_curve

            write_training_curve(workdir)
            evaluation_page.publish(directories)
    except signals.Interrupted as stopped:
        print(f"{stopped}; to go on: {_command()}")
        sys.exit(stopped.exit_code)
    except FloatingPointError as error:
        lower = min(config.optimizer.lr / 10, OptimizerConfig().lr)
        more = f"--workdir={workdir}", f"--config.optimizer.lr={lower:g}"
        again = _command("workdir", "config.optimizer.lr", more=more)
        sys.exit(f"error: {error}; for example: {again}")
    finally:
        if processes.is_primary():
            stopwatch.save(timing)


def _evaluate(arguments: Arguments) -> None:
    require(arguments.stopped_exit_code is None, "--stopped_exit_code: is for train_main.py")
    signals.choose_end("stopped")
    from compad_jax.backend import process, processes
    from compad_jax.evaluation.evaluate_run import evaluate
    from compad_jax.reports import comparison, evaluation_page

    settings = arguments.config.train
    process.configure(settings.train_batch_size, quick_compile=settings.quick_compile)
    process.require_devices()
    if arguments.compare:
        if processes.is_primary():
            print(comparison.compare(arguments.compare, arguments.workdir or "runs/comparison"))
    else:
        config, workdir = arguments.config, arguments.workdir
        directories = evaluate(config, workdir, checkpoint=arguments.checkpoint)
        if processes.is_primary():
            evaluation_page.publish(directories)


def _command(*but: str, more: tuple[str, ...] = ()) -> str:
    """How this program was called, without some of its arguments and with others."""
    program, *words = sys.argv
    for name in but:
        words = without(name, words)
    command = shlex.join([program, *words, *more])
    return f"python {command}" if program.endswith(".py") else command
