"""Evaluates a trained policy in context, or compares runs.

python eval_main.py --config configs/small.py --workdir runs/small [--config.eval.split=train]
python eval_main.py --compare runs/small runs/small_ad
"""

from compad_jax.backend import process
from compad_jax.config.command_line import Arguments, run_program
from compad_jax.evaluation.evaluate_run import evaluate
from compad_jax.reports import comparison, evaluation_page


def main(arguments: Arguments) -> None:
    """Rolls out and reports, or draws finished evaluations into one figure."""
    settings = arguments.config.train
    process.configure(settings.train_batch_size, quick_compile=settings.quick_compile)
    if arguments.compare:
        print(comparison.compare(arguments.compare, arguments.workdir or "runs/comparison"))
    else:
        evaluation_page.publish(evaluate(arguments.config, arguments.workdir))


if __name__ == "__main__":
    run_program(main)
