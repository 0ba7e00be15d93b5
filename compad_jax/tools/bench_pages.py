"""The results file, and pages that show it.

A page marks a block with `<!-- bench:NAME -->` and `<!-- /bench -->`, each on a line of
its own; what stands between them is replaced by what the results say.
"""

import json
import re

from compad_jax.checks import ConfigError
from compad_jax.tools.bench_measure import Facts
from compad_jax.tools.bench_report import BLOCKS

FORMAT = 1  # Of the results file.

_BLOCK = re.compile(r"(<!-- bench:(\w+) -->\n)(.*?)(<!-- /bench -->)", re.DOTALL)


def write_results(results: Facts, path: str) -> None:
    """Writes a results file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


def read_results(path: str) -> Facts:
    """Reads what `write_results` wrote.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise ConfigError(f"{path}: not a results file of this benchmark (format {FORMAT})")
    return results


def fill_page(path: str, results: Facts) -> None:
    """Rewrites the blocks of a page.

    Raises:
        ConfigError: the page is missing, or names a block that the results cannot fill.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    text = fill_blocks(text, results, path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def fill_blocks(text: str, results: Facts, where: str = "page") -> str:
    """Replaces what stands in the blocks of a text; see `fill_page`."""

    def fill(match: re.Match[str]) -> str:
        name = match[2]
        if name not in BLOCKS:
            raise ConfigError(f"{where}: no block {name!r}; known are {', '.join(BLOCKS)}")
        try:
            body = BLOCKS[name](results)
        except KeyError as error:
            raise ConfigError(f"{where}: block {name!r}: the results have no {error}") from error
        return f"{match[1]}{body}\n{match[4]}"

    if len(_BLOCK.findall(text)) != text.count("<!-- bench:"):
        raise ConfigError(f"{where}: a block has no end; write <!-- /bench --> after it")
    return _BLOCK.sub(fill, text)
