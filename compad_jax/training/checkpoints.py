"""Orbax checkpoints: the latest two and the best on validation, each with a checksum."""

import hashlib
import logging
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from compad_jax.config.checks import ConfigError

_SCORE = "score"


def has_checkpoint(workdir: str) -> bool:
    """Whether something was trained in a run directory."""
    directory = _directory(workdir)
    return os.path.isdir(directory) and any(name.isdigit() for name in os.listdir(directory))


def _directory(workdir: str) -> str:
    return os.path.abspath(os.path.join(workdir, "checkpoints"))


class Checkpoints:
    """The checkpoints of a run; use as a context manager, or a save may be lost.

    Each step holds the items `params`, `rest` (what only training needs) and `checksum`,
    so that evaluation and warm starts read the parameters alone.
    """

    def __init__(self, workdir: str) -> None:
        """Opens `workdir`/checkpoints, or creates it."""
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(2),  # One to fall back on.
                checkpoint_managers.BestN(
                    get_metric_fn=_score,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._manager = ocp.CheckpointManager(
            _directory(workdir),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                best_fn=_score,
                best_mode="max",
                enable_async_checkpointing=False,  # Saves take milliseconds at this size.
                cleanup_tmp_directories=True,  # Left by a killed save.
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """Saved steps, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, params: Any, rest: Any, score: float) -> None:
        """Saves a step; replaces an existing one, which was damaged if training got here again.

        Args:
            step: optimiser step.
            params: parameters.
            rest: the rest of the training state.
            score: the highest is the best; NaN: not measured, never the best.
        """
        if step in self._manager.all_steps():
            self._manager.delete(step)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(params),
                rest=ocp.args.StandardSave(rest),
                checksum=ocp.args.JsonSave({"params": _checksum(params), "rest": _checksum(rest)}),
            ),
            metrics={_SCORE: -math.inf if math.isnan(score) else score},
            force=True,  # Also where a later step is there, which then is damaged.
        )

    def restore_latest(self, params: Any, rest: Any) -> tuple[int, Any, Any] | None:
        """Restores the newest step that is whole; warns of damaged ones.

        Args:
            params: abstract or real parameters, for structure, dtype and sharding.
            rest: likewise.

        Returns:
            (step, params, rest), or None where nothing was saved.

        Raises:
            ConfigError: all saved steps are damaged.
        """
        steps = self.steps[::-1]
        for step in steps:
            restored = self._restore(step, {"params": params, "rest": rest})
            if restored:
                return step, restored["params"], restored["rest"]
        if steps:
            raise ConfigError(f"{self._manager.directory}: every checkpoint is damaged")
        return None

    def restore_params(self, params: Any, which: str) -> tuple[int, Any]:
        """Restores the parameters alone.

        Args:
            params: abstract or real parameters, for structure, dtype and sharding.
            which: best (on validation) or latest.

        Returns:
            (step, params); of another step, with a warning, if the one asked for is damaged.

        Raises:
            ConfigError: nothing whole was saved.
        """
        best = self._manager.best_step() if which == "best" else None
        order: Sequence[int] = self.steps[::-1]
        for step in [best, *order] if best is not None else order:
            restored = self._restore(step, {"params": params})
            if restored:
                return step, restored["params"]
        raise ConfigError(f"{self._manager.directory}: no usable checkpoint; train first")

    def _restore(self, step: int, items: dict[str, Any]) -> dict[str, Any] | None:
        """The items of a step if they are whole, else None and a warning."""
        abstract = {
            name: ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, item))
            for name, item in items.items()
        }
        try:
            restored = self._manager.restore(
                step, args=ocp.args.Composite(checksum=ocp.args.JsonRestore(), **abstract)
            )
            if all(_checksum(restored[name]) == restored.checksum[name] for name in items):
                return {name: restored[name] for name in items}
            reason = "checksum"
        except Exception as error:  # Orbax raises plain exceptions on truncated arrays.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        logging.warning("checkpoint %d is damaged (%s); trying another", step, reason)
        return None


def _score(metrics: dict[str, float]) -> float:
    return metrics.get(_SCORE, -math.inf)


def _checksum(tree: Any) -> str:
    """SHA-256 over all leaves, in order: flipped bytes restore without an error."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()
