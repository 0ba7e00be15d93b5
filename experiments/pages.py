"""Writes the generated parts of the pages, from results files alone.

    python -m experiments.pages

A page marks such a part with `<!-- KIND:NAME -->` and `<!-- /KIND -->`, each on a line of its
own; what stands between them is replaced by what the results say.
"""

import glob
import json
import re
from collections.abc import Callable

from benchmarks.bench_report import BLOCKS
from benchmarks.bench_results import read_results
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import one_line_errors
from experiments import comparison_blocks

PAGES = ("README.md", "docs/design.md", "docs/performance.md", "docs/why_it_failed.md")
BENCH = "results/bench/cpu.json"

_BLOCK = re.compile(r"(<!-- (\w+):(\w+) -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)


def _of_comparison(block: Callable[[list[comparison_blocks.Summary]], str]) -> Callable[[str], str]:
    return lambda name: block(json.loads(_read(f"results/{name}/comparison.json")))


def _of_summaries(name: str) -> str:
    paths = sorted(glob.glob(f"results/{name}/*.json"))
    return comparison_blocks.rooms([json.loads(_read(path)) for path in paths])


# What a block of each kind says, by its name.
_KINDS: dict[str, Callable[[str], str]] = {
    "bench": lambda name: BLOCKS[name](read_results(BENCH)),
    "table": lambda name: _read(f"results/{name}/table.md").rstrip(),
    "returns": _of_comparison(comparison_blocks.returns),
    "rewards": _of_comparison(comparison_blocks.rewards),
    "rooms": _of_summaries,
    "phases": _of_comparison(comparison_blocks.phases),
    "cost": _of_comparison(comparison_blocks.cost),
}


def fill_page(path: str) -> None:
    """Rewrites the blocks of a page.

    Raises:
        ConfigError: the page is missing, or names a block that the results cannot fill.
    """
    text = fill_blocks(_read(path), path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def fill_blocks(text: str, where: str = "page") -> str:
    """Replaces what stands in the blocks of a text; see `fill_page`."""

    def fill(match: re.Match[str]) -> str:
        start, kind, name, _, end = match.groups()
        block = f"{where}: block {kind}:{name}"
        if kind not in _KINDS:
            raise ConfigError(f"{where}: no block {kind!r}; known are {', '.join(_KINDS)}")
        try:
            return f"{start}{_KINDS[kind](name)}\n{end}"
        except KeyError as error:
            raise ConfigError(f"{block}: the results have no {error}") from error

    if len(_BLOCK.findall(text)) != len(re.findall(r"<!-- \w+:", text)):
        raise ConfigError(f"{where}: a block has no end; write <!-- /KIND --> after it")
    return _BLOCK.sub(fill, text)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def main() -> None:
    """Fills all pages."""
    with one_line_errors():
        for page in PAGES:
            fill_page(page)


if __name__ == "__main__":
    main()
