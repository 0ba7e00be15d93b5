"""The programs as a user starts them, on a tiny training; and what they leave behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
LAST_STEP, SAVE_EVERY = 40, 10
RUN, STORE = "run", "store"
_CONFIG = ("--config", str(ROOT / "configs" / "debug.py"), f"--config.data.dir={STORE}")
_SETTINGS = (f"--config.train.checkpoint_every={SAVE_EVERY}", "--config.eval.num_episodes=3")
ARGUMENTS = (*_CONFIG, *_SETTINGS, "--workdir", RUN)
_TIMEOUT = 300  # Seconds; a program that needs longer hangs.
_COME_TOGETHER = "--initialization_timeout=120"  # Well below it, or it would seem to hang.
HUNG = -signal.SIGKILL  # The exit code of one that did.
# What depends on the clock, and what names the place.
_UNSTABLE = {"tokens_per_second", "env_steps_per_second", "late_to_early_step_time", "commit"}


class Ended(NamedTuple):
    """A program that came to its end."""

    code: int
    output: str  # Of both streams.

    @property
    def last_line(self) -> str:
        """The last line that was printed."""
        return (self.output.strip().splitlines() or [""])[-1].split("\r")[-1]

    @property
    def refused(self) -> bool:
        """Whether it ended with one line on what is wrong, and no traceback."""
        is_line = self.last_line.startswith("error: ") and "Traceback" not in self.output
        return self.code in (1, 2) and is_line

    @property
    def went_on_from(self) -> int:
        """The step at which its training started; the last one, if it was finished."""
        found = re.search(r"at step ([\d,]+)", self.output)
        return int(found[1].replace(",", "")) if found else LAST_STEP


class Bench:
    """A directory for trials: what they compile is shared, all else is a trial's own."""

    def __init__(self, folder: Path) -> None:
        """Trains once without any fault, as what the others are compared with."""
        self._folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.faultless = folder / "faultless"
        if not (self.faultless / RUN / "eval").exists():
            self.faultless.mkdir(parents=True, exist_ok=True)
            ended = self.run(self.faultless)
            assert ended.code == 0, ended.output
        self.result = read_result(self.faultless)

    @cached_property
    def pair_result(self) -> dict[str, Any] | None:
        """The result of two processes without any fault: other roundings than those of one."""
        folder = self._folder / "faultless_pair"
        folder.mkdir(parents=True, exist_ok=True)
        for process in self.start_pair(folder):
            ended = wait(process)
            assert ended.code == 0, ended.output
        return read_result(folder)

    def new_folder(self, like: Path | None = None) -> Path:
        """An empty folder for the next trial, or a copy of another one."""
        folder = self._folder / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        if like:
            shutil.copytree(like, folder)
        else:
            folder.mkdir()
        return folder

    def start(
        self, folder: Path, program: str = "train_main.py", *more: str
    ) -> "subprocess.Popen[str]":
        """Starts a program in a folder, on the run there."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / program), *ARGUMENTS, *more],
            cwd=folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start_pair(self, folder: Path) -> "list[subprocess.Popen[str]]":
        """Starts a training of two processes in a folder."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        flags = ("--coordinator", coordinator, "--num_processes=2", _COME_TOGETHER)
        return [self.start(folder, "train_main.py", *flags, f"--process_id={i}") for i in range(2)]

    def run(self, folder: Path, program: str = "train_main.py", *more: str) -> Ended:
        """Starts a program and waits for its end."""
        return wait(self.start(folder, program, *more))

    def same_result(self, folder: Path, *, of_pair: bool = False) -> bool:
        """Whether a training came to the very numbers of the faultless one.

        There may be more evaluations. `of_pair`: of the faultless one of two processes.
        """
        result, faultless = read_result(folder), self.pair_result if of_pair else self.result
        if result is None or faultless is None:
            return False
        own = faultless["evaluations"]
        kept = {name: values for name, values in result["evaluations"].items() if name in own}
        return result | {"evaluations": kept} == faultless


def wait(process: "subprocess.Popen[str]") -> Ended:
    """Waits for a program's end; one that hangs is killed, and its code is `HUNG`."""
    try:
        output, _ = process.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        output += f"\nhung for {_TIMEOUT} seconds"
    return Ended(process.returncode, output)


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> bool:
    """Waits until something is seen; whether it was before the program ended."""
    while process.poll() is None:
        if condition():
            return True
        time.sleep(0.001)
    return False


def read_result(folder: Path) -> dict[str, Any] | None:
    """Every number of a finished run that does not depend on the clock; None if it is not whole."""
    run = folder / RUN
    try:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        checksum = run / "checkpoints" / str(LAST_STEP) / "checksum" / "metadata"
        summaries = sorted((run / "eval").glob("*/summary.json"))
        return {
            "metrics": [_stable(json.loads(line)) for line in lines],
            "checkpoint": json.loads(checksum.read_text()),
            "evaluations": {p.parent.name: _stable(json.loads(p.read_text())) for p in summaries},
        }
    except (OSError, ValueError):
        return None


def logged_steps(folder: Path) -> int:
    """The last step in the log."""
    try:
        lines = (folder / RUN / "metrics.jsonl").read_text().splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, IndexError):
        return 0


def _stable(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _UNSTABLE}
