"""What a policy remembers of the segments that left its window, and how it is updated."""

from compad_jax.models.memory.baselines import CacheMemory, RecurrentMemory
from compad_jax.models.memory.protocol import (
    MemoryFactory,
    MemoryRule,
    memory_factory,
    register_memory,
)
from compad_jax.models.memory.rules import (
    GruMemory,
    MultiplicativeMemory,
    NoMemory,
    QuantisedMemory,
    ReplaceMemory,
    ResidualMemory,
    SlotGateMemory,
)

register_memory("none", NoMemory)
register_memory("replace", ReplaceMemory)
register_memory("residual", ResidualMemory)
register_memory("multiplicative", MultiplicativeMemory)
register_memory("gru", GruMemory)
register_memory("slot_gate", SlotGateMemory)
register_memory("quantised", QuantisedMemory)
register_memory("recurrent", RecurrentMemory)
register_memory("cache", CacheMemory)

__all__ = ["MemoryFactory", "MemoryRule", "memory_factory", "register_memory"]
