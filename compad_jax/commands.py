"""The two programs, as console commands and behind `train_main.py` and `eval_main.py`."""

import os
import shlex
import sys

from compad_jax.backend import process
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config import Config
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import Arguments, run_program
from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.training.loop import train
from compad_jax.training.run_directory import claimed
from compad_jax.training.signals import Interrupted

TRAIN_HELP = """Does all of it: collects histories, trains, evaluates in unseen tasks, reports.

python train_main.py --config configs/small.py [--config.optimizer.lr=3e-4] [--workdir DIR]

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
    run_program(_train, TRAIN_HELP)


def eval_program() -> None:
    """Rolls out and reports, or compares finished evaluations; reads the command line."""
    run_program(_evaluate, EVAL_HELP)


def _train(arguments: Arguments) -> None:
    config, workdir = arguments.config, arguments.workdir
    if arguments.checkpoint:
        raise ConfigError("--checkpoint: is for eval_main.py; a training may --init_from a run")
    process.configure(config.train.train_batch_size, quick_compile=config.train.quick_compile)
    with claimed(config, workdir):
        _train_and_report(config, workdir)


def _train_and_report(config: Config, workdir: str) -> None:
    """The whole job in a run directory that this process owns."""
    stopwatch = Stopwatch()
    stopwatch.save(os.path.join(workdir, "timing.json"), is_last=False)
    try:
        train(config, workdir, stopwatch=stopwatch)
        with stopwatch.phase("evaluate"):
            directories = evaluate(config, workdir)
        with stopwatch.phase("report"):
            # Imported only now: figures would delay the first step.
            from compad_jax.reports import evaluation_page
            from compad_jax.reports.training_curve import write_training_curve

            write_training_curve(workdir)
            evaluation_page.publish(directories)
    except (Interrupted, KeyboardInterrupt) as stopped:
        print(f"{stopped or 'stopped'}; to go on: {_command()}")
        sys.exit(stopped.exit_code if isinstance(stopped, Interrupted) else 130)
    except FloatingPointError as error:
        sys.exit(f"error: {error}")  # Exit code 1.
    finally:
        stopwatch.save(os.path.join(workdir, "timing.json"))


def _evaluate(arguments: Arguments) -> None:
    from compad_jax.reports import comparison, evaluation_page

    settings = arguments.config.train
    process.configure(settings.train_batch_size, quick_compile=settings.quick_compile)
    if arguments.compare:
        print(comparison.compare(arguments.compare, arguments.workdir or "runs/comparison"))
    else:
        config, workdir = arguments.config, arguments.workdir
        evaluation_page.publish(evaluate(config, workdir, checkpoint=arguments.checkpoint))


def _command() -> str:
    """How this program was called."""
    command = shlex.join(sys.argv)
    return f"python {command}" if sys.argv[0].endswith(".py") else command
