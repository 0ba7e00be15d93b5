"""What a training is made of beside its settings: recorded in checkpoints, compared on resuming."""

import logging
from typing import Any, NamedTuple

from compad_jax.config.checks import differences, require


class MadeOf(NamedTuple):
    """What decides the numbers of a training, but is not among its settings."""

    histories: str  # Hash of the arrays in their store.
    num_devices: int
    versions: dict[str, str]

    def require_like(self, saved: dict[str, Any], where: str) -> None:
        """Compares with `_asdict()` of what a checkpoint was made of, as far as it was recorded.

        Warns of other versions or devices: they change how sums are rounded.

        Raises:
            ConfigError: it was trained on other histories.
        """
        new = {name: value for name, value in self._asdict().items() if name in saved}
        changed = {name: (old, now) for name, old, now in differences(saved, new)}
        require(
            "histories" not in changed,
            f"{where}: trained on histories other than those there now; bring the store back, or "
            "name another --workdir",
        )
        if changed:
            texts = [f"{name} {old}, now {now}" for name, (old, now) in changed.items()]
            logging.warning(
                "%s: made with %s; from here on numbers may differ by rounding",
                where,
                "; ".join(texts),
            )
