"""Whose run directory it is: the settings of its training, written down before anything else."""

import contextlib
import os
from collections.abc import Iterator

import jax

from compad_jax.backend.ownership import owned
from compad_jax.config import Config, load_json, save_json, to_dict
from compad_jax.config.checks import require, require_equal
from compad_jax.envs import make_env
from compad_jax.models import make_policy
from compad_jax.sources import make_source
from compad_jax.training.checkpoints import has_checkpoint

# Of `env`: what a trained policy may be confronted with although it was trained otherwise.
TEST_SETTINGS = ("wait", "max_wait", "horizon")


@contextlib.contextmanager
def claimed(config: Config, workdir: str) -> Iterator[None]:
    """Owns a run directory, by its settings, while its training and what belongs to it runs.

    A thread that owns it already may claim it again.

    Raises:
        ConfigError: see `claim_workdir`; or another process trains there.
    """
    _check_claim(config, workdir)
    os.makedirs(workdir, exist_ok=True)
    with owned(os.path.join(workdir, "training.lock"), workdir):
        claim_workdir(config, workdir)  # Checks again: another owner may have come before.
        yield


def claim_workdir(config: Config, workdir: str) -> None:
    """Writes the settings into a new run directory, or compares them with an old one's.

    Raises:
        ConfigError: an unknown name; or the directory belongs to a run that was trained
            differently, or to one whose settings are not known.
    """
    if not _check_claim(config, workdir):
        os.makedirs(workdir, exist_ok=True)
        save_json(config, os.path.join(workdir, "config.json"))


def _check_claim(config: Config, workdir: str) -> bool:
    """Whether the directory has these settings; False if it has none, an error if others."""
    _require_32_bits()
    env = make_env(config.env)  # Unknown names fail before any file is made.
    make_source(config.source, env)
    make_policy(config, env.spec)
    path, is_trained = os.path.join(workdir, "config.json"), has_checkpoint(workdir)
    if os.path.exists(path) and (is_trained or os.path.getsize(path)):
        _require_same(config, workdir, ())
        return True
    # Moved here, or made before its settings were lost.
    require(not is_trained, f"{workdir}: has checkpoints but no config.json; name another")
    return False  # Nothing is there, or the empty file that a full disk once left.


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
    return _require_same(config, workdir, TEST_SETTINGS)


def _require_same(config: Config, workdir: str, but: tuple[str, ...]) -> Config:
    """The settings of the run; raises if they differ in more than `eval` and these of `env`."""
    trained = load_json(os.path.join(workdir, "config.json"))
    old, new = to_dict(trained), to_dict(config)
    for values in (old, new):
        del values["eval"]  # Says nothing about the training.
        for name in but:
            del values["env"][name]
    require_equal(workdir, old, new, "name another --workdir")
    return trained
