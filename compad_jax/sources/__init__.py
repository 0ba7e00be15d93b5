"""Sources by name: the algorithms whose learning is distilled."""

from collections.abc import Callable
from typing import Any

import jax

from compad_jax.backend.process import plain_compile_options
from compad_jax.config import SourceConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs.protocol import Env
from compad_jax.sources.mbie_eb import make_mbie_eb
from compad_jax.sources.ppo import make_ppo
from compad_jax.types import History

Source = Callable[[jax.Array, jax.Array], History]  # (key, task) -> History [R, T]


def make_source(config: SourceConfig, env: Env) -> Source:
    """Builds the source that `config.name` names.

    Args:
        config: the source's settings.
        env: the environment it learns in.

    Returns:
        Pure function (key, task) -> History [num_streams, num_steps]; `key` is consumed.

    Raises:
        ConfigError: the name is unknown, or the source cannot run with its settings.
    """
    sizes = {"num_streams": config.num_streams, "num_steps": config.num_steps}
    builders: dict[str, Callable[[], Source]] = {
        "mbie_eb": lambda: make_mbie_eb(env, config.mbie_eb, **sizes),
        "ppo": lambda: make_ppo(env, config.ppo, **sizes),
    }
    if config.name not in builders:
        raise ConfigError(f"source.name={config.name!r}: known are {', '.join(builders)}")
    return builders[config.name]()


def source_compile_options(name: str) -> dict[str, Any]:
    """Compiler options for a program that runs the source of this name."""
    return plain_compile_options() if name == "mbie_eb" else {}
