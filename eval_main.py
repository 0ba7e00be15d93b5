"""Evaluates a trained policy in context, or compares runs.

python eval_main.py --config configs/small.py --workdir runs/small [--config.eval.split=train]
python eval_main.py --compare runs/small runs/small_ad
"""

from compad_jax import report, runtime
from compad_jax.command_line import Arguments, run_program
from compad_jax.evaluate import evaluate


def main(arguments: Arguments) -> None:
    """Rolls out and reports, or draws finished evaluations into one figure."""
    settings = arguments.config.train
    runtime.configure(settings.train_batch_size, quick_compile=settings.quick_compile)
    if arguments.compare:
        print(report.compare(arguments.compare, arguments.workdir or "runs/comparison"))
    else:
        report.publish(evaluate(arguments.config, arguments.workdir))


if __name__ == "__main__":
    run_program(main)
