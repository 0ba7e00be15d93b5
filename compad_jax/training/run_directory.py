"""Whose run directory it is: the settings of its training, written down before anything else."""

import os
from typing import Any

from compad_jax.config import Config, load_json, save_json, to_dict
from compad_jax.config.checks import ConfigError, differences, require_equal
from compad_jax.training.checkpoints import newest_step
from compad_jax.training.divergence import accept_gentler
from compad_jax.training.preflight import check_settings

# Of `env`: what a trained policy may be confronted with although it was trained otherwise.
TEST_SETTINGS = ("wait", "max_wait", "horizon")


def claim_workdir(config: Config, workdir: str) -> None:
    """Writes the settings into a new run directory, or compares them with an old one's.

    Where nothing was trained yet, a mistaken first command is forgotten.

    Raises:
        ConfigError: the settings allow no training; or the directory belongs to a run that was
            trained differently, or to one whose settings are not known.
    """
    path, step = os.path.join(workdir, "config.json"), newest_step(workdir)
    check_settings(config, is_new=step is None)  # Before any file is made.
    if step is None:
        if os.path.exists(path) and differences(_training(load_json(path)), _training(config)):
            print(f"{workdir}: nothing was trained here yet; the new settings replace the old ones")
        os.makedirs(workdir, exist_ok=True)
        save_json(config, path)
        return
    if not os.path.exists(path):  # Moved here, or made before its settings were lost.
        raise ConfigError(f"{workdir}: has checkpoints but no config.json; name another")
    accept_gentler(config, workdir, step)
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
    old, new = _training(trained), _training(config)
    for values in (old, new):
        for name in but:
            del values["env"][name]
    require_equal(workdir, old, new, "name another --workdir")
    return trained


def _training(config: Config) -> dict[str, Any]:
    """The settings that say something about the training."""
    values = to_dict(config)
    del values["eval"]
    return values
