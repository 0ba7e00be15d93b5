"""Histories: on disk, and as training samples. `write` makes a store of one's own."""

from compad_jax.histories.own import write

__all__ = ["write"]
