"""Kills: the process is gone from one instruction to the next, in every phase and inside saves."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.trials.programs import (
    HUNG,
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
    folder, phase = bench.new_folder(), list(_PHASES)[number % len(_PHASES)]
    process = bench.start(folder)
    _strike(folder, phase, process, rng)
    wait(process)
    trained = logged_steps(folder)
    ended = bench.run(folder)
    same = ended.code == 0 and bench.same_result(folder)
    lost = max(0, trained - ended.went_on_from)
    return Trial(f"killed: {phase}", phase, same, "same result" if same else ended.last_line, lost)


def kill_one_of_two(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Kills one of the two processes of a training; the other has to end by itself."""
    folder, phase = bench.new_folder(), list(_PHASES)[number % len(_PHASES)]
    victim = number // len(_PHASES) % 2
    pair = bench.start_pair(folder)
    _strike(folder, phase, pair[victim], rng)
    left = [wait(process) for process in pair][1 - victim]
    trained = logged_steps(folder)
    ended = [wait(process) for process in bench.start_pair(folder)]
    same = [e.code for e in ended] == [0, 0] and bench.same_result(folder, of_pair=True)
    how = "same result" if same else " ".join(e.last_line for e in ended)
    if hung := left.code == HUNG:
        how = f"the other one {left.last_line}"
    lost = max(0, trained - ended[0].went_on_from)
    what = f"process {victim}: {phase}"
    return Trial("one of two processes killed", what, same and not hung, how, lost)


def _strike(
    folder: Path, phase: str, process: "subprocess.Popen[str]", rng: np.random.Generator
) -> None:
    """Kills a process at a random moment of a phase."""
    is_there, seconds = _PHASES[phase]
    wait_until(lambda: is_there(folder), process)
    time.sleep(rng.uniform(0, seconds))
    process.send_signal(signal.SIGKILL)
