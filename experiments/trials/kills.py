"""Kills: the process is gone from one instruction to the next, in every phase and inside saves."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.trials.programs import (
    LAST_STEP,
    RUN,
    STORE,
    Bench,
    logged_steps,
    wait,
    wait_until,
)
from experiments.trials.trial import Trial

Seen = Callable[[Path], bool]


def _is_saving(folder: Path) -> bool:
    return any((folder / RUN / "checkpoints").glob("*tmp*"))


# What is waited for, and for how many more seconds at most, until the kill.
_PHASES: dict[str, tuple[Seen, float]] = {
    "start": (lambda folder: True, 2.0),
    "collect and compile": (lambda folder: (folder / RUN / "config.json").exists(), 3.0),
    "write the histories": (lambda folder: any(folder.glob(f"{STORE}?*")), 0.05),
    "train": (lambda folder: logged_steps(folder) > 0, 1.0),
    "save": (_is_saving, 0.02),
    "last save": (lambda folder: logged_steps(folder) == LAST_STEP and _is_saving(folder), 0.05),
    "evaluate": (lambda folder: (folder / RUN / "checkpoints" / str(LAST_STEP)).exists(), 3.0),
    "report": (lambda folder: any((folder / RUN / "eval").glob("*/summary.json")), 1.0),
}


def kill(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Kills a training at a random moment of a phase."""
    folder = bench.new_folder()
    phase = list(_PHASES)[number % len(_PHASES)]
    is_there, seconds = _PHASES[phase]
    process = bench.start(folder)
    wait_until(lambda: is_there(folder), process)
    time.sleep(rng.uniform(0, seconds))
    process.send_signal(signal.SIGKILL)
    wait(process)
    trained = logged_steps(folder)
    ended = bench.run(folder)
    same = ended.code == 0 and bench.same_result(folder)
    lost = max(0, trained - ended.went_on_from)
    return Trial(f"killed: {phase}", phase, same, "same result" if same else ended.last_line, lost)
