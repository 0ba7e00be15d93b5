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


def gentler_changes(config: Config, workdir: str) -> dict[str, tuple[Any, Any]]:
    """What a start after a divergence changes: old and new values by dotted path.

    Empty where nothing changes, something that must not, or none diverged.
    """
    if not os.path.exists(os.path.join(workdir, _MARK)):
        return {}
    old, new = to_dict(load_json(os.path.join(workdir, "config.json"))), to_dict(config)
    changed = differences(old | {"eval": {}}, new | {"eval": {}})
    may_change = {f"optimizer.{name}" for name in MAY_CHANGE}
    return {name: (x, y) for name, x, y in changed} if {x[0] for x in changed} <= may_change else {}


def accept_gentler(config: Config, workdir: str, step: int) -> None:
    """Takes over what `gentler_changes` tells; without any, all is left alone.

    What changed, and from which step on, that of the last checkpoint, is printed and added to
    `settings_changes.jsonl`; the mark of the divergence is taken away.
    """
    changed = gentler_changes(config, workdir)
    if not changed:
        return
    with open(os.path.join(workdir, _CHANGES), "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **changed}, allow_nan=False) + "\n")
    save_json(config, os.path.join(workdir, "config.json"))
    os.remove(os.path.join(workdir, _MARK))
    shown = ", ".join(f"{name} {x!r} -> {y!r}" for name, (x, y) in changed.items())
    print(f"{workdir}: diverged after step {step:,}; goes on from there with {shown}")
