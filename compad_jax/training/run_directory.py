"""Whose run directory it is: the settings of its training, written down before anything else."""

import os

from compad_jax.config import Config, load_json, save_json, to_dict
from compad_jax.config.checks import ConfigError, require_equal
from compad_jax.envs import make_env
from compad_jax.models import make_policy
from compad_jax.sources import make_source
from compad_jax.training.checkpoints import has_checkpoint

# Of `env`: what a trained policy may be confronted with although it was trained otherwise.
TEST_SETTINGS = ("wait", "max_wait", "horizon")


def claim_workdir(config: Config, workdir: str) -> None:
    """Writes the settings into a new run directory, or compares them with an old one's.

    Raises:
        ConfigError: an unknown name; or the directory belongs to a run that was trained
            differently, or to one whose settings are not known.
    """
    env = make_env(config.env)  # Unknown names fail before any file is made.
    make_source(config.source, env)
    make_policy(config, env.spec)
    path = os.path.join(workdir, "config.json")
    if not os.path.exists(path):
        if has_checkpoint(workdir):  # Moved here, or made before its settings were lost.
            raise ConfigError(f"{workdir}: has checkpoints but no config.json; name another")
        os.makedirs(workdir, exist_ok=True)
        save_json(config, path)
        return
    _require_same(config, workdir, ())


def check_workdir(config: Config, workdir: str) -> Config:
    """The settings by which the run in `workdir`, or the agent in that folder, was trained.

    Raises:
        ConfigError: nothing was trained there, or something else; `eval` may differ, and of the
            environment what `TEST_SETTINGS` names.
    """
    path = os.path.join(workdir, "config.json")
    if not os.path.exists(path):
        raise ConfigError(f"{workdir}: nothing was trained here; run train_main.py first")
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
