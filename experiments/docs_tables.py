"""Writes the generated parts of the pages, from files alone: nothing is run.

    python -m experiments.docs_tables

A page marks such a part with `<!-- KIND:NAME -->` and `<!-- /KIND -->`, each on a line of its
own; what stands between them is replaced by what the results say. Most kinds read the
evaluations in `results/NAME/*.json`: a file holds one summary or a list of them, as
`eval_main.py --compare` (comparison.json) and `experiments.collect_results` (evaluations.json)
write it. The kinds:

    returns   an evaluation a row: shares of the optimum
    rewards   a training a row: rewards of sampled actions in each goal
    rooms     an evaluation a row: its grid, horizon and split
    lives     an evaluation a row: each tenth of a long life against the best one
    splits    a run a row, over training seeds and splits, and their mean
    tasks     an evaluation a row, of any environment; without an optimum its returns
    phases    a run a row: seconds of its phases
    cost      a sentence: what the first run took
    table     the table of an experiment, `results/NAME/table.md`
    bench     a table of the benchmark on a CPU; NAME is one of `benchmarks.tables.BLOCKS`
    gpu       likewise, on a GPU
    scaling   what so many transitions need; NAME is `arithmetic`
    versions  the main job at two commits, `results/bench/NAME.json`

Two kinds read no results: `settings` lists all settings, `schema` the fields of
`docs/NAME.schema.json`.
"""

import glob
import os
import re
from collections.abc import Callable
from typing import Any

from benchmarks import versions
from benchmarks.tables import BLOCKS, read_results
from benchmarks.tricks import tricks_table
from compad_jax.backend.files import parse_json, write_text
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import one_line_errors
from compad_jax.config.help import settings_tables
from compad_jax.reports.wording import Summary
from experiments import evaluation_tables, scaling_arithmetic
from experiments.schema_table import schema_table

PAGES = (
    "README.md",
    "docs/design.md",
    "docs/own_environments.md",
    "docs/performance.md",
    "docs/reliability.md",
    "docs/results.md",
    "docs/scaling.md",
    "docs/settings.md",
    "docs/summary.md",
    "docs/why_it_failed.md",
)
BENCH, GPU_BENCH = "results/bench/cpu.json", "results/bench/gpu.json"

_BLOCK = re.compile(r"(<!-- (\w+):(\w+) -->\n)(.*?)(<!-- /\2 -->)", re.DOTALL)


def _of_evaluations(block: Callable[[list[Summary]], str]) -> Callable[[str], str]:
    return lambda name: block(read_evaluations(f"results/{name}"))


_SIZES = {"arithmetic": scaling_arithmetic.arithmetic_table}

# What a block of each kind says, by its name.
_KINDS: dict[str, Callable[[str], str]] = {
    "bench": lambda name: BLOCKS[name](read_results(BENCH)),
    "gpu": lambda name: BLOCKS[name](read_results(GPU_BENCH)),
    "versions": lambda name: versions.table(_parse(f"results/bench/{name}.json")),
    "table": lambda name: _read(f"results/{name}/table.md").rstrip(),
    "returns": _of_evaluations(evaluation_tables.returns),
    "rewards": _of_evaluations(evaluation_tables.rewards),
    "rooms": _of_evaluations(evaluation_tables.rooms),
    "lives": _of_evaluations(evaluation_tables.lives),
    "splits": _of_evaluations(evaluation_tables.splits),
    "tasks": _of_evaluations(evaluation_tables.tasks),
    "phases": _of_evaluations(evaluation_tables.phases),
    "cost": _of_evaluations(evaluation_tables.cost),
    "scaling": lambda name: _SIZES[name](),
    "tricks": lambda name: tricks_table(_parse(f"results/{name}_tricks.json")),
    "settings": lambda name: settings_tables(),
    "schema": lambda name: schema_table(_parse(f"docs/{name}.schema.json")),
}


def read_evaluations(directory: str) -> list[Summary]:
    """Reads the evaluations in the JSON files of a directory, in the order of their names.

    Raises:
        ConfigError: there is none.
    """
    paths = sorted(glob.glob(os.path.join(directory, "*.json")))
    if not paths:
        raise ConfigError(f"{directory}/*.json: no such file")
    contents = [_parse(path) for path in paths]
    return [
        s for content in contents for s in (content if isinstance(content, list) else [content])
    ]


def fill_page(path: str) -> None:
    """Rewrites the blocks of a page.

    Raises:
        ConfigError: the page is missing, or names a block that the results cannot fill.
    """
    text = fill_blocks(_read(path), path)
    write_text(path, text)


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


def _parse(path: str) -> Any:
    try:
        return parse_json(_read(path))
    except ValueError as error:
        raise ConfigError(f"{path}: is not JSON ({error}); write it again") from error


def main() -> None:
    """Fills all pages."""
    with one_line_errors():
        for page in PAGES:
            fill_page(page)


if __name__ == "__main__":
    main()
