"""A training that diverged goes on in the same run directory, with a gentler optimiser."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compad_jax.backend.files import write_json
from compad_jax.config import Config, load_json, save_json, to_dict
from compad_jax.config.checks import differences

MAY_CHANGE = ("lr", "grad_clip_norm", "num_warmup_steps")  # Of `optimizer`, after a divergence.
_MARK, _CHANGES = "diverged.json", "settings_changes.jsonl"


@contextmanager
def marked(workdir: str) -> Iterator[None]:
    """Marks a run directory if the training inside the block diverges."""
    try:
        yield
    except FloatingPointError as error:
        write_json(os.path.join(workdir, _MARK), {"reason": str(error)})
        raise


def accept_gentler(config: Config, workdir: str, step: int) -> None:
    """Takes over other settings of the optimiser after a divergence; all else is left alone.

    What changed, and from which step on it counts, is printed and added to
    `settings_changes.jsonl`; the mark of the divergence is taken away.

    Args:
        config: all settings of the new start.
        workdir: run directory with a checkpoint.
        step: of the last checkpoint.
    """
    mark, path = os.path.join(workdir, _MARK), os.path.join(workdir, "config.json")
    if not os.path.exists(mark):
        return
    old, new = to_dict(load_json(path)), to_dict(config)
    changed = differences(old.pop("optimizer"), new.pop("optimizer"))
    others = differences(old | {"eval": {}}, new | {"eval": {}})
    if others or not changed or any(name not in MAY_CHANGE for name, _, _ in changed):
        return
    facts: dict[str, Any] = {f"optimizer.{name}": [x, y] for name, x, y in changed}
    with open(os.path.join(workdir, _CHANGES), "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step} | facts, allow_nan=False) + "\n")
    save_json(config, path)
    os.remove(mark)
    shown = ", ".join(f"{name} {x!r} -> {y!r}" for name, (x, y) in facts.items())
    print(f"{workdir}: diverged after step {step:,}; goes on from there with {shown}")
