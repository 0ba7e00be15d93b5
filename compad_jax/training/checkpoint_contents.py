"""What is written down beside the arrays of a checkpoint: their layout and a checksum."""

import hashlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from compad_jax.config.checks import differences, require


def is_description(saved: Any, names: Iterable[str]) -> bool:
    """Whether that is what `describe` makes, and of these items."""
    if not isinstance(saved, dict) or not all(isinstance(saved.get(x), str) for x in names):
        return False
    layout, made_of = saved.get("layout", {}), saved.get("made_of", {})
    parts = [layout, made_of, *(layout.values() if isinstance(layout, dict) else ())]
    return all(isinstance(part, dict) for part in parts)


def describe(items: dict[str, Any]) -> dict[str, Any]:
    """Checksum and layout of each item."""
    checksums = {name: checksum_of(item) for name, item in items.items()}
    return checksums | {"layout": {name: layout_of(item) for name, item in items.items()}}


def layout_of(tree: Any) -> dict[str, str]:
    """Type and shape of each leaf by its path: `{"dense/kernel": "float32[3, 2]"}`."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.eval_shape(lambda x: x, tree))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in leaves
    }


def require_layout(where: str, saved: dict[str, str], wanted: dict[str, str]) -> None:
    """Raises a ConfigError that names the first leaves in which two layouts differ."""
    differing = differences(saved, wanted)
    shown = [
        f"{path} is {old or 'not there'}, not {new or 'absent'}" for path, old, new in differing
    ]
    require(not shown, f"{where} does not fit these settings: {'; '.join(shown[:3])}")


def checksum_of(tree: Any) -> str:
    """SHA-256 over all leaves, in order: flipped bytes restore without an error."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()
