"""CompAD-JAX: compressed in-context reinforcement learning.

    config = compad_jax.Config(...)                       # every setting, with its default
    compad_jax.train(config, "runs/mine")                 # collects histories, trains, saves
    directories = compad_jax.evaluate(config, "runs/mine")  # plays unseen tasks, writes results
    agent = compad_jax.load("runs/mine")                  # acts wherever one likes: see `Agent`

`register_env`, `register_source` and `register_memory` make an environment, a source of learning
histories and a memory rule of one's own known by a name that the settings can then use.
Importing this package imports nothing else: what is used first is loaded then.
"""

import importlib
from typing import Any

_PLACES = {
    "Agent": "compad_jax.agent",
    "Config": "compad_jax.config",
    "evaluate": "compad_jax.evaluation.evaluate_run",
    "load": "compad_jax.agent",
    "register_env": "compad_jax.envs",
    "register_memory": "compad_jax.models.memory",
    "register_source": "compad_jax.sources",
    "train": "compad_jax.training.loop",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Loads what the package offers, at its first use."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
