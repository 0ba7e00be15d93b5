"""The protocol of memory rules, and the registry that knows them by name.

A rule is a flax module. This one remembers the mean of all tokens that were ever compressed:

    class RunningMean(nn.Module):
        config: ModelConfig
        dtype: Any

        def initial(self, batch):
            return {"sum": jnp.zeros((batch, self.config.tf_n_embd)), "count": jnp.zeros(batch)}

        def write(self, memory, segment, mask, *, deterministic=True):
            total = (segment * mask[..., None]).sum(1)
            return {"sum": memory["sum"] + total, "count": memory["count"] + mask.sum(1)}

        def read(self, memory):
            return (memory["sum"] / jnp.maximum(memory["count"], 1)[:, None])[:, None]

    register_memory("running_mean", RunningMean)

`model.memory_update = "running_mean"` then selects it, in every program that imported the module
above. Parameters, submodules and dropout are declared as in any other flax module.
"""

from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import jax

from compad_jax.config import ModelConfig
from compad_jax.config.checks import require

Memory = Any  # A pytree of arrays with leading axis B.


class MemoryRule(Protocol):
    """The methods of a memory rule; all are pure functions of the rule's parameters."""

    def initial(self, batch: int) -> Memory:
        """Returns the memory of a policy that has compressed nothing yet."""

    def write(
        self, memory: Memory, segment: jax.Array, mask: jax.Array, *, deterministic: bool = True
    ) -> Memory:
        """Compresses a segment into the memory.

        Args:
            memory: the old memory.
            segment: float [B, L, D], embedded tokens with positions; L differs between calls.
            mask: bool [B, L], true for real tokens. Padding must not change the result.
            deterministic: no dropout.

        Returns:
            The new memory; structure, shapes and types are those of the old one.
        """

    def read(self, memory: Memory) -> jax.Array:
        """Returns the tokens that the decoder attends to, float [B, M, D]; M is static."""


# Builds the rule, a flax module with the methods of `MemoryRule`, from settings and the dtype of
# the computation. A module class with these two fields is such a factory.
MemoryFactory = Callable[[ModelConfig, Any], nn.Module]

_FACTORIES: dict[str, MemoryFactory] = {}


def register_memory(name: str, factory: MemoryFactory) -> None:
    """Makes a memory rule known as `model.memory_update=name`; a known name gets a new rule."""
    _FACTORIES[name] = factory


def memory_factory(config: ModelConfig) -> MemoryFactory:
    """Looks up the rule that the settings name; without latents it is `none`.

    Raises:
        ConfigError: no rule of this name was registered.
    """
    name = config.memory_update if config.remembers else "none"
    require(
        name in _FACTORIES,
        f"model.memory_update={name!r}: no such memory rule; known are {', '.join(_FACTORIES)} "
        "(a module that registers another one must be imported first)",
    )
    return _FACTORIES[name]
