"""Starts several processes that run one program together, and never leaves one behind."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Gloo's threads print how many peers they found, piece by piece and through each other's lines.
_GLOO = re.compile(
    r"\[Gloo\] Rank | is connected to | peer ranks\. |Expected number of connected peer ranks is : "
)


class Group:
    """Processes that run one Python program together; their output lands in files."""

    def __init__(self, arguments, number, folder, *, own=(), devices=1, **environment):
        """Starts them; `own` are more arguments of each."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        variables = {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(devices), **environment}
        self.processes, self._files = [], []
        for i in range(number):
            flags = ["--coordinator", coordinator, f"--num_processes={number}", "--process_id"]
            flags = [*flags, str(i)] if number > 1 else []
            files = [open(folder / f"{name}{i}", "w+") for name in ("out", "err")]  # noqa: SIM115
            self._files.append(files)
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, *arguments, *flags, *(own[i] if own else ())],
                    cwd=folder,
                    env={**os.environ, **variables},
                    stdout=files[0],
                    stderr=files[1],
                )
            )

    def wait(self, seconds=280):
        """Exit codes; processes that hang are killed and raise."""
        with contextlib.ExitStack() as stack:
            for process in self.processes:
                stack.callback(process.kill)
            return [process.wait(timeout=seconds) for process in self.processes]

    def outputs(self, stream):
        """What each wrote to stdout (0) or stderr (1), without the libraries' own notes."""
        texts = []
        for files in self._files:
            files[stream].seek(0)
            lines = files[stream].read().splitlines()
            texts.append([x for x in lines if re.search(r"[^\d\s]", _GLOO.sub(" ", f" {x}"))])
        return texts
