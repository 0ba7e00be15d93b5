"""Damage: flipped bytes, files cut off or planted, and a disk that is full."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from experiments.trials.programs import ARGUMENTS, ROOT, RUN, STORE, Bench, Ended, wait
from experiments.trials.trial import Trial

_CONTENTS = {
    "empty": b"",
    "of other bytes": bytes(range(256)),
    "a bare number": b"7\n",
    "an empty object": b"{}\n",
    "a list": b"[1, 2]\n",
    "cut off": None,  # Half of what was there.
}
_FILES = (
    f"{RUN}/config.json",
    f"{RUN}/timing.json",
    f"{RUN}/metrics.jsonl",
    f"{RUN}/eval/held_out-greedy-3/summary.json",
    f"{RUN}/eval/held_out-greedy-3/curve.csv",
    f"{STORE}/manifest.json",
)
_PROGRAM = str(ROOT / "train_main.py")
_IN_A_NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-c")
# A disk of its own that fills up at some point of the training; then there is room, and the same
# command is started again. The mount is seen by this process and its children alone.
_FULL_DISK = """
mkdir -p disk
mount -t tmpfs -o size=40m tmpfs disk
cd disk
head -c "$FILLED" /dev/zero > filler
"$@"; echo "exit code $?" >&2
rm filler
"$@"; echo "exit code $?" >&2
cp -r . "$RESULT"
"""


def flip_byte(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Flips one bit of one byte of one file of a training that is to be gone on with."""
    folder = bench.new_folder(like=bench.faultless)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
    path = files[rng.integers(len(files))]
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    return _go_on(bench, folder, "flipped bit", path)


def plant(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Puts something else where a file of ours was, or a folder."""
    folder = bench.new_folder(like=bench.faultless)
    name = _FILES[number % len(_FILES)]
    what = list(_CONTENTS)[number // len(_FILES) % len(_CONTENTS)]
    content, path = _CONTENTS[what], folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    return _go_on(bench, folder, f"planted file, {what}", path)


def _go_on(bench: Bench, folder: Path, kind: str, path: Path) -> Trial:
    """Starts training and evaluation again; each must end as before, or name the file."""
    name = str(path.relative_to(folder))
    for program in ("train_main.py", "eval_main.py"):
        ended = bench.run(folder, program)
        if ended.code:
            what = Path(name).parts[1]  # Of the run or the store: a file, records, checkpoints.
            return Trial(kind, name, ended.refused and what in ended.last_line, ended.last_line)
    result = bench.same_result(folder)
    return Trial(kind, name, result, "same result" if result else "another result")


def fill_disk(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Lets the disk run full at a random point of a training, and then gives it room."""
    result = bench.new_folder()
    free = int(rng.uniform(0, 600_000))
    process = subprocess.Popen(
        [*_IN_A_NAMESPACE, _FULL_DISK, "sh", sys.executable, _PROGRAM, *ARGUMENTS],
        cwd=result.parent,
        env=bench.environment | {"FILLED": str(40 * 2**20 - free), "RESULT": str(result)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = wait(process).output
    first, second, *_ = (*output.split("exit code "), "", "")
    refused = Ended(int(second.split()[0] or -1), first).refused
    same = bench.same_result(result)
    how = "same result" if same and refused else Ended(1, first).last_line
    return Trial("full disk", f"{free:,} bytes free", refused and same, how)
