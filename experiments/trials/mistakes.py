"""Mistakes: a command line with one wrong setting, and a lock that a lost process has left."""

import json
import platform
from typing import Any

import numpy as np

from compad_jax.config import Config, to_dict
from experiments.trials.programs import RUN, Bench
from experiments.trials.trial import Trial

_WRONG = {  # By the type of the setting: what no setting of it takes.
    int: ("-7", "1.5", "many", "9" * 20),
    float: ("nan", "-1", "high", "1e400"),
    bool: ("3", "maybe"),
    str: ("3 words", ""),
}
_MAY_BE_EMPTY = ("data.dir", "train.init_from", "train.init_checkpoint")


def mistake(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Starts a training with one setting that is wrong; nothing may be made."""
    leaves = [x for x in _leaves(to_dict(Config())) if x[0] not in _MAY_BE_EMPTY]
    path, value = leaves[rng.integers(len(leaves))]
    wrong = rng.choice(_WRONG[type(value)])
    folder = bench.new_folder()
    ended = bench.run(folder, "train_main.py", f"--config.{path}={wrong}")
    name = path.rsplit(".", 1)[-1]
    refused = ended.code == 2 and ended.refused and name in ended.last_line
    return Trial("wrong setting", path, refused and not any(folder.iterdir()), ended.last_line)


def lost_owner(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Starts a training where a process that is gone, of this host or another, left its lock.

    On a file system with locks the file alone holds nobody back.
    """
    folder, here = bench.new_folder(), number % 2 == 0
    (folder / RUN).mkdir()
    host = platform.node() if here else "another-host"
    owner = {"host": host, "process": 2**22 - 1, "since": "2026-01-01 00:00:00"}
    for name in ("training.lock", "training.lock.owner"):
        (folder / RUN / name).write_text(json.dumps(owner) + "\n")
    ended = bench.run(folder)
    same = ended.code == 0 and bench.same_result(folder)
    what = "of this host" if here else "of another host"
    return Trial("lock of a lost process", what, same, "same result" if same else ended.last_line)


def _leaves(values: dict[str, Any], where: str = "") -> list[tuple[str, Any]]:
    """Dotted path and default of every setting."""
    found = []
    for name, value in values.items():
        path = f"{where}{name}"
        found += _leaves(value, f"{path}.") if isinstance(value, dict) else [(path, value)]
    return found
