"""Environments by name."""

from collections.abc import Callable

from compad_jax.config import EnvConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.protocol import Env

REGISTRY: dict[str, Callable[[EnvConfig], Env]] = {
    "dark_room": lambda config: DarkRoom(config.grid_size, config.horizon, config.start),
}


def make_env(config: EnvConfig) -> Env:
    """Builds the environment that `config.name` names.

    Raises:
        ConfigError: the name is unknown.
    """
    if config.name not in REGISTRY:
        raise ConfigError(f"env.name={config.name!r}: known are {', '.join(REGISTRY)}")
    return REGISTRY[config.name](config)
