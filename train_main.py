"""Does all of it: collects histories, trains, evaluates in unseen tasks, reports.

python train_main.py --config configs/small.py [--config.optimizer.lr=3e-4] [--workdir DIR]
"""

import os
import shlex
import sys

from compad_jax.backend import process
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config.command_line import Arguments, run_program
from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.training.loop import train
from compad_jax.training.run_directory import claim_workdir
from compad_jax.training.signals import Interrupted


def main(arguments: Arguments) -> None:
    """Trains or goes on training, then evaluates what was trained."""
    config, workdir = arguments.config, arguments.workdir
    process.configure(config.train.train_batch_size, quick_compile=config.train.quick_compile)
    claim_workdir(config, workdir)
    stopwatch = Stopwatch()
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
        print(f"{stopped or 'stopped'}; to go on: python {shlex.join(sys.argv)}")
        sys.exit(stopped.exit_code if isinstance(stopped, Interrupted) else 130)
    except FloatingPointError as error:
        sys.exit(f"error: {error}")  # Exit code 1.
    finally:
        stopwatch.save(os.path.join(workdir, "timing.json"))


if __name__ == "__main__":
    run_program(main)
