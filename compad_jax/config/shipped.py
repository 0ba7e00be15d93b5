"""Agents that come with the package: where each one lies, and by which settings it was trained.

An agent is a folder `compad_jax/agents/NAME` with `config.json`, `params.msgpack` (parameters, as
`flax.serialization` writes them) and `card.md` (what it is, and what it does on held-out tasks).
"""

import pathlib

from compad_jax.config.checks import ConfigError

_FOLDER = pathlib.Path(__file__).parent.parent / "agents"


def shipped_names() -> tuple[str, ...]:
    """The agents that come with the package."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/config.json")))


def trained_directory(checkpoint: str) -> pathlib.Path:
    """The folder of a shipped agent by its name, or a run directory by its path.

    Raises:
        ConfigError: there is neither.
    """
    for folder in (_FOLDER / checkpoint, pathlib.Path(checkpoint)):
        if checkpoint and (folder / "config.json").is_file():
            return folder
    raise ConfigError(
        f"{checkpoint!r}: no such agent or run; name a directory that train_main.py wrote, or one "
        f"of the agents that come with the package: {', '.join(shipped_names())}"
    )


def is_shipped(folder: pathlib.Path) -> bool:
    """Whether a folder of `trained_directory` is a shipped agent's."""
    return folder.parent == _FOLDER
