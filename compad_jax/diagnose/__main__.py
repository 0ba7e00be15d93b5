"""Runs `python -m compad_jax.diagnose --config FILE [--workdir DIR]`; see `measure`."""

from compad_jax.config.command_line import run_program
from compad_jax.diagnose.measure import main

if __name__ == "__main__":
    run_program(main)
