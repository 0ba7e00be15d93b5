"""Environments by name."""

from collections.abc import Callable

from compad_jax.config import ConfigError, EnvConfig
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.protocol import Env

EnvFactory = Callable[[EnvConfig], Env]

_FACTORIES: dict[str, EnvFactory] = {}


def register_env(name: str, factory: EnvFactory) -> None:
    """Makes an environment known as `env.name`; a name that is known already is replaced.

    Args:
        name: what the settings call it.
        factory: builds the environment from the `env` settings.
    """
    _FACTORIES[name] = factory


def registered_envs() -> tuple[str, ...]:
    """The known names."""
    return tuple(_FACTORIES)


def make_env(config: EnvConfig) -> Env:
    """Builds the environment that `config.name` names.

    Raises:
        ConfigError: the name is unknown.
    """
    if config.name not in _FACTORIES:
        known = ", ".join(_FACTORIES)
        raise ConfigError(
            f"env.name={config.name!r}: known are {known}; import the module that registers it"
        )
    return _FACTORIES[config.name](config)


register_env("dark_room", lambda config: DarkRoom(config.grid_size, config.horizon, config.start))
