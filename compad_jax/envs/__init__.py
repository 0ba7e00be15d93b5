"""Environments by name."""

import functools
from collections.abc import Callable

from compad_jax.config import ConfigError, EnvConfig
from compad_jax.config.checks import require
from compad_jax.envs.dark_key_to_door import DarkKeyToDoor
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.delayed_bandit import DelayedBandit
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


def _make_dark(family: type[DarkRoom] | type[DarkKeyToDoor], config: EnvConfig) -> Env:
    for name in ("wait", "max_wait"):
        wait = getattr(config, name)
        require(not wait, f"env.{name}={wait}: only for delayed_bandit, not for {config.name}")
    return family(config.grid_size, config.horizon, config.start)


def _make_delayed_bandit(config: EnvConfig) -> Env:
    wait, max_wait = config.wait, config.max_wait
    require(not (wait and max_wait), f"env.wait={wait}: must be 0 with env.max_wait={max_wait}")
    own = config.delayed_bandit
    return DelayedBandit(own.num_arms, own.noise, own.num_pulls, wait, max_wait)


register_env("dark_room", functools.partial(_make_dark, DarkRoom))
register_env("dark_key_to_door", functools.partial(_make_dark, DarkKeyToDoor))
register_env("delayed_bandit", _make_delayed_bandit)
