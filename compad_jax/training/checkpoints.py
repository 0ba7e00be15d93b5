"""Orbax checkpoints: the latest two and the best on validation, each with a checksum."""

import contextlib
import logging
import math
import os
import sys
from collections.abc import Iterator
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from compad_jax.backend import files, processes
from compad_jax.config.checks import ConfigError
from compad_jax.training.checkpoint_contents import (
    checksum_of,
    describe,
    is_description,
    layout_of,
    require_layout,
)
from compad_jax.training.made_of import MadeOf

_SCORE = "score"
_NOT_MEASURED = -sys.float_info.max  # Below every score; JSON knows no infinity.


def has_checkpoint(workdir: str) -> bool:
    """Whether something was trained in a run directory."""
    return newest_step(workdir) is not None


def newest_step(workdir: str) -> int | None:
    """The last step that was saved in a run directory; None: nothing was."""
    return max(_steps(_directory(workdir)), default=None)


def _directory(workdir: str) -> str:
    return os.path.abspath(os.path.join(workdir, "checkpoints"))


def _steps(directory: str) -> list[int]:
    """Saved steps, ascending; a save under way has another name."""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return sorted(int(name) for name in names if name.isdigit())


class SavedSteps:
    """The checkpoints of a run, to be read; nothing is written, also beside a running training.

    Each step holds the items `params`, `rest` (what only training needs) and `checksum` (of
    both, with their layout and what the training is made of), so that evaluation and warm start
    read the parameters alone. Use as a context manager.
    """

    def __init__(self, workdir: str) -> None:
        """Looks at `workdir`/checkpoints, which need not exist."""
        self._directory = _directory(workdir)
        self._reader = ocp.Checkpointer(ocp.CompositeCheckpointHandler())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def steps(self) -> list[int]:
        """Saved steps, ascending, as they are now."""
        return _steps(self._directory)

    def restore_latest(
        self, params: Any, rest: Any, made_of: MadeOf | None = None
    ) -> tuple[int, Any, Any] | None:
        """Restores (step, params, rest) of the newest step that is whole; warns of others.

        Structures, dtypes and shardings are those of `params` and `rest`, abstract or real;
        `made_of` is what the training that goes on is made of. None where nothing was saved.

        Raises:
            ConfigError: no saved step is whole, one was saved of something else or was trained
                on other histories, or it cannot be read.
        """
        found = self._restore_first({"params": params, "rest": rest}, made_of=made_of)
        return found and (found[0], found[1]["params"], found[1]["rest"])

    def restore_params(self, params: Any, which: str) -> tuple[int, Any]:
        """Restores (step, params) of the checkpoint that is best (on validation) or latest.

        It is another step, with a warning, if the one asked for is damaged or was removed just now.
        Structure, dtypes and shardings are those of `params`, abstract or real.

        Raises:
            ConfigError: see `restore_latest`; or nothing was saved.
        """
        found = self._restore_first({"params": params}, which)
        if found is None:
            raise ConfigError(f"{self._directory}: no checkpoint; train first")
        return found[0], found[1]["params"]

    def _order(self, which: str) -> list[int]:
        """The steps to try: the best, if it is asked for, then from the newest on."""
        steps = self.steps[::-1]
        scores = {step: _read_score(self._directory, step) for step in steps}
        best = max(steps, key=lambda step: (scores[step], step), default=None)
        return sorted(steps, key=lambda step: step != best) if which == "best" else steps

    def _restore_first(
        self, items: dict[str, Any], which: str = "latest", made_of: MadeOf | None = None
    ) -> tuple[int, dict[str, Any]] | None:
        """The first step that is whole, and its items; None where nothing was saved."""
        reasons: dict[int, str] = {}
        # Listed again each time: a training that runs meanwhile saves and removes.
        while untried := [step for step in self._order(which) if step not in reasons]:
            step = untried[0]
            try:
                return step, self._restore(step, items, made_of)
            except _Unusable as error:
                is_there = os.path.isdir(os.path.join(self._directory, str(step)))
                why = str(error) if is_there else "was removed meanwhile"
                reasons[step] = f"checkpoint {step} {why}"
                logging.warning("%s: %s; trying another", self._directory, reasons[step])
        if not reasons:
            return None
        raise ConfigError(
            f"{self._directory}: no usable checkpoint ({'; '.join(reasons.values())})"
        )

    def _restore(self, step: int, items: dict[str, Any], made_of: MadeOf | None) -> dict[str, Any]:
        """The items of a step; raises `_Unusable` if they are not whole."""
        for name in ("checksum", *items):
            if not os.path.isdir(os.path.join(self._directory, str(step), name)):
                raise _Unusable(f"has no {name}")
        saved = self._read(step, checksum=ocp.args.JsonRestore()).checksum
        if not is_description(saved, items):
            raise _Unusable("is damaged (checksum is no such file)")
        for name, item in items.items():
            if name in saved.get("layout", {}):  # An earlier version did not write it.
                where = f"{self._directory}: {name} of checkpoint {step}"
                require_layout(where, saved["layout"][name], layout_of(item))
        if made_of and "made_of" in saved:
            made_of.require_like(saved["made_of"], f"{self._directory}: checkpoint {step}")
        abstract = {
            name: ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, item))
            for name, item in items.items()
        }
        restored = self._read(step, **abstract)
        for name in items:
            if checksum_of(restored[name]) != saved[name]:
                raise _Unusable(f"is damaged (checksum of {name})")
        return {name: restored[name] for name in items}

    def _read(self, step: int, **items: Any) -> Any:
        """Reads items of a step."""
        try:
            path = os.path.join(self._directory, str(step))
            return self._reader.restore(path, args=ocp.args.Composite(**items))
        except MemoryError:
            raise
        except Exception as error:  # Orbax raises plain exceptions on arrays that are cut off.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                where = f"{self._directory}: checkpoint {step}"
                raise ConfigError(f"{where} cannot be read ({reason})") from error
            raise _Unusable(f"is damaged ({reason})") from error


class Checkpoints(SavedSteps):
    """The checkpoints of a run, to be written, too; its training alone may open them so.

    Use as a context manager, or a save may be lost.
    """

    def __init__(self, workdir: str) -> None:
        """Opens `workdir`/checkpoints, or creates it; removes what a killed save has left."""
        super().__init__(workdir)
        with processes.primary_first("the scores"):
            for step in self.steps:
                _mend_score(self._directory, step)
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
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                best_fn=_score,
                best_mode="max",
                enable_async_checkpointing=False,  # Saves take milliseconds at this size.
                cleanup_tmp_directories=True,  # Left by a killed save.
            ),
        )

    def __exit__(self, *_: object) -> None:
        self._manager.close()
        super().__exit__()

    def save(
        self, step: int, params: Any, rest: Any, score: float, made_of: MadeOf | None = None
    ) -> None:
        """Saves a step; replaces an existing one, which was damaged if training got here again.

        The highest score is the best; NaN: not measured, never the best. `made_of` is for
        `restore_latest` to compare.

        Raises:
            OSError: it cannot be written, as on a full disk; the steps before are kept.
        """
        description = describe({"params": params, "rest": rest})
        if made_of:
            description["made_of"] = made_of._asdict()
        if step in self._manager.all_steps():
            self._manager.delete(step)
        try:
            with _errors_are_raised_only():
                self._manager.save(
                    step,
                    args=ocp.args.Composite(
                        params=ocp.args.StandardSave(params),
                        rest=ocp.args.StandardSave(rest),
                        checksum=ocp.args.JsonSave(description),
                    ),
                    metrics={_SCORE: score if math.isfinite(score) else _NOT_MEASURED},
                    force=True,  # Also where a later step is there, which then is damaged.
                )
        except Exception as error:  # TensorStore's errors are of many types.
            where = os.path.join(self._directory, str(step))
            raise files.as_os_error(error, where) from error


class _Unusable(Exception):
    """A step is not whole; the text says why, after "checkpoint N"."""


@contextlib.contextmanager
def _errors_are_raised_only() -> Iterator[None]:
    """Of an error that is raised, Orbax also logs a traceback a thread: not inside."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _score(metrics: dict[str, float]) -> float:
    return metrics.get(_SCORE, _NOT_MEASURED)


def _read_score(directory: str, step: int) -> float:
    """The score of a saved step; `_NOT_MEASURED` if it cannot be read."""
    try:
        with open(_score_path(directory, step), "rb") as file:
            score = files.parse_json(file.read())[_SCORE]
        return score if isinstance(score, int | float) else _NOT_MEASURED
    except (OSError, ValueError, TypeError, KeyError):
        return _NOT_MEASURED


def _mend_score(directory: str, step: int) -> None:
    """Writes a score anew that Orbax could not read, as not measured."""
    path = _score_path(directory, step)
    if os.path.exists(path) and _read_score(directory, step) == _NOT_MEASURED:
        files.write_json(path, {_SCORE: _NOT_MEASURED})


def _score_path(directory: str, step: int) -> str:
    return os.path.join(directory, str(step), "metrics", "metrics")
