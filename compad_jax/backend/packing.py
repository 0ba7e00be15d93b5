"""Dozens of small parameters as a few large arrays, for what treats each of them alike.

A program that updates every parameter by itself has dozens of copies of each operation: it
compiles longer, and runs slower.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

REST = "rest"  # The group of all that is no kernel.
HEAD = "head"  # The group of the head's kernel.


def pack(tree: Any) -> dict[str, jax.Array]:
    """Stacks kernels of one shape, the head's apart, and joins all else in one vector.

    The name of a parameter decides, not its shape: biases, norms, positions and latents
    are no kernels.

    Args:
        tree: parameters of a policy, or anything of their structure.

    Returns:
        Stacks [n, inputs, outputs], named by their shape or HEAD, and the vector REST.
    """
    groups = _groups(tree)
    rest = ravel_pytree(groups.pop(REST, []))[0]
    return {name: jnp.stack(kernels) for name, kernels in groups.items()} | {REST: rest}


def unpack(packed: dict[str, jax.Array], like: Any) -> Any:
    """The inverse of `pack`, into the structure and the shapes of `like`."""
    groups = _groups(like)
    rest = groups.get(REST, [])
    ends = np.cumsum([leaf.size for leaf in rest])[:-1]
    vectors = jnp.split(packed[REST], ends)
    parts = {name: iter(packed[name]) for name in groups}
    parts[REST] = (v.reshape(x.shape) for v, x in zip(vectors, rest, strict=True))
    return jax.tree_util.tree_map_with_path(lambda path, x: next(parts[_group(path, x)]), like)


def _groups(tree: Any) -> dict[str, list[jax.Array]]:
    """The leaves of each group, in the order of the tree."""
    groups: dict[str, list[jax.Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        groups.setdefault(_group(path, leaf), []).append(leaf)
    return groups


def _group(path: tuple[Any, ...], leaf: jax.Array) -> str:
    keys = [getattr(part, "key", None) for part in path]
    if keys[-1] != "kernel":
        return REST
    return HEAD if keys[0] == "head" else "x".join(map(str, leaf.shape))
