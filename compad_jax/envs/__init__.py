"""Environments by name."""

import functools
from collections.abc import Callable

from compad_jax.config import ConfigError, EnvConfig
from compad_jax.config.checks import require, suggest
from compad_jax.envs import grid
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.dark_room_permuted import DarkRoomPermuted
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.envs.protocol import Env, FinishableEnv
from compad_jax.envs.waiting import Waiting, Waits

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
        known = ", ".join(_FACTORIES) + suggest(config.name, _FACTORIES)
        raise ConfigError(
            f"env.name={config.name!r}: known are {known}; import the module that registers it"
        )
    return _FACTORIES[config.name](config)


def _make_dark_room(config: EnvConfig) -> Env:
    grid.require_reachable(config)
    if config.reward == "every_step":
        return _add_wait(DarkRoom(config.grid_size, config.horizon, config.start), config)
    return _make_dark_goals(config, 1)


def _make_dark_goals(config: EnvConfig, num_goals: int) -> Env:
    grid.require_reachable(config)
    env = DarkGoals(config.grid_size, config.horizon, config.start, num_goals)
    return _add_wait(env, config)


def _add_wait(env: Env, config: EnvConfig) -> Env:
    """The environment, with a wait where the settings ask for one."""
    if config.wait < 0 and not config.max_wait:
        return env
    require(
        isinstance(env, FinishableEnv),
        f"env.wait={config.wait}, env.max_wait={config.max_wait}: nobody waits where every step "
        "may pay: only dark_room with env.reward=first_visit, and families of goals in sequence",
    )
    return Waiting(env, _waits(config))


def _waits(config: EnvConfig) -> Waits:
    return Waits(config.wait, config.max_wait, config.no_wait_ratio)


def _make_dark_room_permuted(config: EnvConfig) -> Env:
    grid.require_reachable(config, only_last=True)
    return _add_wait(DarkRoomPermuted(config.grid_size, config.horizon, config.start), config)


def _make_delayed_bandit(config: EnvConfig) -> Env:
    own = config.delayed_bandit
    return DelayedBandit(own.num_arms, own.noise, own.num_pulls, _waits(config))


register_env("dark_room", _make_dark_room)
register_env("dark_key_to_door", functools.partial(_make_dark_goals, num_goals=2))
register_env(
    "dark_goals", lambda config: _make_dark_goals(config, num_goals=config.dark_goals.num_goals)
)
register_env("dark_room_permuted", _make_dark_room_permuted)
register_env("delayed_bandit", _make_delayed_bandit)
