"""Pages that need no server: templates of HTML, with their styles and scripts beside them."""

import json
import string
from importlib import resources
from typing import Any


def read(name: str) -> str:
    """The text of a template, style or script."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def fill(name: str, **parts: str) -> str:
    """A template with its `$parts` replaced by HTML."""
    return string.Template(read(name)).substitute(parts)


def scripts(*names: str) -> str:
    """Scripts one after the other."""
    return "".join(map(read, names))


def as_data(values: Any) -> str:
    """JSON that nothing can break out of inside a `<script>`."""
    return json.dumps(values, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
