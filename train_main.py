"""Does all of it: collects histories, trains, evaluates in unseen tasks, reports.

python train_main.py --config configs/small.py [--config.optimizer.lr=3e-4] [--workdir DIR]
"""

import shlex
import sys

from compad_jax import report, runtime
from compad_jax.command_line import Arguments, run_program
from compad_jax.evaluate import evaluate
from compad_jax.train import Interrupted, train


def main(arguments: Arguments) -> None:
    """Trains or goes on training, then evaluates what was trained."""
    runtime.configure()
    try:
        train(arguments.config, arguments.workdir)
    except Interrupted as stopped:
        print(f"{stopped}; to go on: python {shlex.join(sys.argv)}")
        return
    except FloatingPointError as error:
        sys.exit(f"error: {error}; try a lower --config.optimizer.lr")
    report.publish(evaluate(arguments.config, arguments.workdir))


if __name__ == "__main__":
    run_program(main)
