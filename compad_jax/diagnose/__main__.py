"""Runs `python -m compad_jax.diagnose --config FILE [--workdir DIR]`; see `measure`."""

from compad_jax.config.command_line import Arguments, run_program
from compad_jax.training import signals


def _main(arguments: Arguments) -> None:
    from compad_jax.diagnose.measure import main  # Only now: signals are heard before.

    main(arguments)


if __name__ == "__main__":
    signals.listen()
    run_program(_main, __doc__)
