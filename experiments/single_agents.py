"""What the experiments on single agents share: command line, provenance and files."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

from compad_jax.backend import provenance
from compad_jax.backend.files import write_text
from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError, require
from compad_jax.config.settings import from_dict
from compad_jax.envs import make_env
from compad_jax.envs.waiting import Waiting
from compad_jax.models import Params, Policy
from compad_jax.reports.wording import percent
from compad_jax.training.restore import restore_trained


def agent_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser of what all of them take, described by the first line of a docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("checkpoint", help="run directory or shipped agent")
    parser.add_argument("--results", help="directory to write to")
    return parser


def origin_of(checkpoint: str, step: int, config: Config) -> dict[str, Any]:
    """Which agent a result is about, and what it was made with."""
    return {
        "checkpoint": checkpoint,
        "step": step,
        "config": to_dict(config),
        "hardware": provenance.describe_hardware(),
        "commit": provenance.describe_commit(),
    }


def load_with_wait(checkpoint: str, wait: int) -> tuple[Policy, int, Params, Config, Waiting]:
    """Restores an agent for waits of a fixed length.

    Args:
        checkpoint: run directory or shipped agent.
        wait: steps.

    Returns:
        The policy, the step, the parameters, the settings with that wait, and the environment.

    Raises:
        ConfigError: there is no such agent, or it is of another kind.
    """
    policy, step, params, trained = restore_trained(checkpoint)
    values = to_dict(trained)
    values["env"] |= {"wait": wait}
    config = from_dict(values)
    env = make_env(config.env)
    if not (isinstance(env, Waiting) and env.num_stages == 1 and config.model.remembers):
        raise ConfigError(f"{checkpoint}: only agents with a memory, waits and one goal")
    return policy, step, params, config, env


def require_new(directory: str | None) -> None:
    """Raises a `ConfigError` if results would be written where something is."""
    require(
        not (directory and os.path.exists(directory)),
        f"--results {directory}: exists; name another directory",
    )


def show_share(share: Mapping[str, Any]) -> str:
    """A `share` in percent and its interval, `ci95`."""
    return f"{percent(share['share'])}% [{', '.join(map(percent, share['ci95']))}]"


def write_texts(directory: str, texts: Mapping[str, str]) -> None:
    """Writes files by their names into a new directory."""
    os.makedirs(directory)
    for name, text in texts.items():
        write_text(os.path.join(directory, name), text + "\n")
