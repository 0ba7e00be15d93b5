"""Orbax checkpoints: the latest two and the best on validation, each with a checksum."""

import hashlib
import logging
import math
import os
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from compad_jax.config.checks import ConfigError, differences, require

_SCORE = "score"


def has_checkpoint(workdir: str) -> bool:
    """Whether something was trained in a run directory."""
    return newest_step(workdir) is not None


def newest_step(workdir: str) -> int | None:
    """The last step that was saved in a run directory; None: nothing was."""
    directory = _directory(workdir)
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return max((int(name) for name in names if name.isdigit()), default=None)


def _directory(workdir: str) -> str:
    return os.path.abspath(os.path.join(workdir, "checkpoints"))


class Checkpoints:
    """The checkpoints of a run; use as a context manager, or a save may be lost.

    Each step holds the items `params`, `rest` (what only training needs) and `checksum` (of
    both, and their layout), so that evaluation and warm starts read the parameters alone.
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
                checksum=ocp.args.JsonSave(_describe({"params": params, "rest": rest})),
            ),
            metrics={_SCORE: -math.inf if math.isnan(score) else score},
            force=True,  # Also where a later step is there, which then is damaged.
        )

    def restore_latest(self, params: Any, rest: Any) -> tuple[int, Any, Any] | None:
        """Restores the newest step that is whole; warns of those that are not.

        Args:
            params: abstract or real parameters, for structure, dtype and sharding.
            rest: likewise.

        Returns:
            (step, params, rest), or None where nothing was saved.

        Raises:
            ConfigError: no saved step is whole, one was saved of something else, or it
                cannot be read.
        """
        if not self.steps:
            return None
        step, items = self._restore_first(self.steps[::-1], {"params": params, "rest": rest})
        return step, items["params"], items["rest"]

    def restore_params(self, params: Any, which: str) -> tuple[int, Any]:
        """Restores the parameters alone.

        Args:
            params: abstract or real parameters, for structure, dtype and sharding.
            which: best (on validation) or latest.

        Returns:
            (step, params); of another step, with a warning, if the one asked for is damaged.

        Raises:
            ConfigError: see `restore_latest`; or nothing was saved.
        """
        best = self._manager.best_step() if which == "best" else None
        order = ([] if best is None else [best]) + self.steps[::-1]
        if not order:
            raise ConfigError(f"{self._manager.directory}: no checkpoint; train first")
        step, items = self._restore_first(order, {"params": params})
        return step, items["params"]

    def _restore_first(self, steps: list[int], items: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The first of these steps that is whole, and its items."""
        reasons = {}
        for step in steps:
            try:
                return step, self._restore(step, items)
            except _Unusable as error:
                reasons[step] = f"checkpoint {step} {error}"
                logging.warning("%s; trying another", reasons[step])
        raise ConfigError(
            f"{self._manager.directory}: no usable checkpoint ({'; '.join(reasons.values())})"
        )

    def _restore(self, step: int, items: dict[str, Any]) -> dict[str, Any]:
        """The items of a step; raises `_Unusable` if they are not whole."""
        for name in ("checksum", *items):
            if not (self._manager.directory / str(step) / name).is_dir():
                raise _Unusable(f"has no {name}")
        saved = self._read(step, checksum=ocp.args.JsonRestore()).checksum
        for name, item in items.items():
            if name in saved.get("layout", {}):  # An earlier version did not write it.
                where = f"{self._manager.directory}: {name} of checkpoint {step}"
                _require_layout(where, saved["layout"][name], _layout(item))
        abstract = {
            name: ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, item))
            for name, item in items.items()
        }
        restored = self._read(step, **abstract)
        for name in items:
            if _checksum(restored[name]) != saved[name]:
                raise _Unusable(f"is damaged (checksum of {name})")
        return {name: restored[name] for name in items}

    def _read(self, step: int, **items: Any) -> Any:
        """Reads items of a step."""
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except MemoryError:
            raise
        except Exception as error:  # Orbax raises plain exceptions on arrays that are cut off.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                where = f"{self._manager.directory}: checkpoint {step}"
                raise ConfigError(f"{where} cannot be read ({reason})") from error
            raise _Unusable(f"is damaged ({reason})") from error


class _Unusable(Exception):
    """A step is not whole; the text says why, after "checkpoint N"."""


def _score(metrics: dict[str, float]) -> float:
    return metrics.get(_SCORE, -math.inf)


def _describe(items: dict[str, Any]) -> dict[str, Any]:
    """Checksum and layout of each item."""
    checksums = {name: _checksum(item) for name, item in items.items()}
    return checksums | {"layout": {name: _layout(item) for name, item in items.items()}}


def _layout(tree: Any) -> dict[str, str]:
    """Type and shape of each leaf by its path: `{"dense/kernel": "float32[3, 2]"}`."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(lambda x: x, tree))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in leaves
    }


def _require_layout(where: str, saved: dict[str, str], wanted: dict[str, str]) -> None:
    """Raises a ConfigError that names the first leaves in which two layouts differ."""
    differing = differences(saved, wanted)
    shown = [
        f"{path} is {old or 'not there'}, not {new or 'absent'}" for path, old, new in differing
    ]
    require(not shown, f"{where} does not fit these settings: {'; '.join(shown[:3])}")


def _checksum(tree: Any) -> str:
    """SHA-256 over all leaves, in order: flipped bytes restore without an error."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()
