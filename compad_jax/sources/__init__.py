"""Sources by name: the algorithms whose learning is distilled."""

from collections.abc import Callable
from typing import Any

import jax

from compad_jax.config import SourceConfig
from compad_jax.config.checks import ConfigError, suggest
from compad_jax.envs.protocol import Env
from compad_jax.sources.mbie_eb import make_mbie_eb
from compad_jax.sources.ppo import make_ppo
from compad_jax.sources.random_actions import make_random_actions
from compad_jax.sources.staged_search import make_staged_search
from compad_jax.sources.thompson import make_thompson
from compad_jax.sources.ucb import make_ucb
from compad_jax.types import History

Source = Callable[[jax.Array, Any], History]  # (key, task) -> History [R, T]
SourceFactory = Callable[[SourceConfig, Env], Source]

_FACTORIES: dict[str, SourceFactory] = {}


def register_source(name: str, factory: SourceFactory) -> None:
    """Makes a source known as `source.name`; a name that is known already is replaced.

    Args:
        name: what the settings call it.
        factory: builds the source from the `source` settings for an environment; R is
            `num_streams`, T is `num_steps`.
    """
    _FACTORIES[name] = factory


def make_source(config: SourceConfig, env: Env) -> Source:
    """Builds the source that `config.name` names, for the environment that it learns in.

    Returns:
        Pure function (key, task) -> History [num_streams, num_steps]; `key` is consumed.

    Raises:
        ConfigError: the name is unknown, or the source cannot run with its settings.
    """
    if config.name not in _FACTORIES:
        known = ", ".join(_FACTORIES) + suggest(config.name, _FACTORIES)
        raise ConfigError(
            f"source.name={config.name!r}: known are {known}; import the module that registers it"
        )
    return _FACTORIES[config.name](config, env)


def _register(name: str, make: Callable[..., Source]) -> None:
    """Registers a source that has settings of its own name."""

    def factory(config: SourceConfig, env: Env) -> Source:
        own = getattr(config, name)
        return make(env, own, num_streams=config.num_streams, num_steps=config.num_steps)

    register_source(name, factory)


_register("mbie_eb", make_mbie_eb)
_register("ppo", make_ppo)
register_source("random", make_random_actions)
_register("staged_search", make_staged_search)
_register("thompson", make_thompson)
_register("ucb", make_ucb)
