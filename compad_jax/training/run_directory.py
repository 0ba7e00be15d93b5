"""Whose run directory it is: the settings of its training, written down before anything else."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax

from compad_jax.backend import processes
from compad_jax.backend.ownership import owned
from compad_jax.config import Config, load_json, save_json, to_dict
from compad_jax.config.checks import differences, require, require_equal
from compad_jax.training.checkpoints import newest_step
from compad_jax.training.divergence import accept_gentler, gentler_changes
from compad_jax.training.preflight import check_settings

# Of `env`: what a trained policy may be confronted with although it was trained otherwise.
TEST_SETTINGS = ("wait", "max_wait", "horizon")


@contextlib.contextmanager
def claimed(config: Config, workdir: str) -> Iterator[None]:
    """Owns a run directory, by its settings, while its training and what belongs to it runs.

    A thread that owns it already may claim it again.

    Raises:
        ConfigError: see `claim_workdir`; or another process trains there.
    """
    if not processes.is_primary():  # Process 0 owns it for all.
        processes.barrier("the run directory")
        processes.require_shared(os.path.join(workdir, "config.json"))
        _check_claim(config, workdir)
        yield
        return
    _check_claim(config, workdir)
    os.makedirs(workdir, exist_ok=True)
    with owned(os.path.join(workdir, "training.lock"), workdir):
        claim_workdir(config, workdir)  # Checks again: another owner may have come before.
        processes.barrier("the run directory")
        yield


def claim_workdir(config: Config, workdir: str) -> None:
    """Writes the settings into a new run directory, or compares them with an old one's.

    Where nothing was trained yet, a mistaken first command is forgotten.

    Raises:
        ConfigError: the settings allow no training; or the directory belongs to a run that was
            trained differently, or to one whose settings are not known.
    """
    path, step = os.path.join(workdir, "config.json"), _check_claim(config, workdir)
    if step is not None:
        accept_gentler(config, workdir, step)
        return
    # A full disk once left an empty file.
    is_filled = os.path.exists(path) and os.path.getsize(path) > 0
    if is_filled and differences(_training(load_json(path)), _training(config)):
        print(f"{workdir}: nothing was trained here yet; the new settings replace the old ones")
    os.makedirs(workdir, exist_ok=True)
    save_json(config, path)


def _check_claim(config: Config, workdir: str) -> int | None:
    """The last step that was trained there, if any; an error if no training can go on there."""
    _require_32_bits()
    step = newest_step(workdir)
    check_settings(config, is_new=step is None)  # Before any file is made.
    if step is not None:
        # Moved here, or made before its settings were lost.
        is_there = os.path.exists(os.path.join(workdir, "config.json"))
        require(is_there, f"{workdir}: has checkpoints but no config.json; name another")
        if not gentler_changes(config, workdir):
            _require_same(config, workdir, (), "name another --workdir")
    return step


def _require_32_bits() -> None:
    require(
        not jax.config.jax_enable_x64,  # type: ignore[attr-defined]
        "jax_enable_x64: trainings and evaluations are made in 32 bits; leave it off for them",
    )


def check_workdir(config: Config, workdir: str) -> Config:
    """The settings by which the run in `workdir`, or the agent in that folder, was trained.

    Raises:
        ConfigError: nothing was trained there, or something else; `eval` may differ, and of the
            environment what `TEST_SETTINGS` names.
    """
    _require_32_bits()
    path = os.path.join(workdir, "config.json")
    require(os.path.exists(path), f"{workdir}: nothing was trained here; run train_main.py first")
    return _require_same(config, workdir, TEST_SETTINGS, "or give the run itself: --checkpoint")


def _require_same(config: Config, workdir: str, but: tuple[str, ...], advice: str) -> Config:
    """The settings of the run; raises if they differ in more than `eval` and these of `env`."""
    trained = load_json(os.path.join(workdir, "config.json"))
    old, new = _training(trained), _training(config)
    for values in (old, new):
        for name in but:
            del values["env"][name]
    require_equal(workdir, old, new, advice)
    return trained


def _training(config: Config) -> dict[str, Any]:
    """The settings that say something about the training."""
    values = to_dict(config)
    del values["eval"]
    return values
