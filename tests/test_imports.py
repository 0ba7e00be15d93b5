"""A module has a rank and imports modules of its own or lower ranks only."""

import ast
import pathlib

import pytest

# Longest prefix counts. 0 says what things are, 5 shows what came out.
_RANKS = {
    "compad_jax": 0,
    "compad_jax.checks": 0,
    "compad_jax.config": 0,
    "compad_jax.types": 0,
    "compad_jax.command_line": 0,
    "compad_jax.envs": 1,
    "compad_jax.models": 1,
    "compad_jax.losses": 1,
    "compad_jax.packing": 0,
    "compad_jax.scan_sum": 0,
    "compad_jax.optimizer": 1,
    "compad_jax.sharding": 1,
    "compad_jax.checkpoint": 1,
    "compad_jax.logger": 1,
    "compad_jax.progress": 1,
    "compad_jax.programs": 1,
    "compad_jax.criteria": 1,
    "compad_jax.runtime": 1,
    "compad_jax.sources": 2,
    "compad_jax.data": 2,
    "compad_jax.collect": 3,
    "compad_jax.restore": 3,
    "compad_jax.train_step": 3,
    "compad_jax.rollout": 3,
    "compad_jax.in_context": 3,
    "compad_jax.validation": 3,
    "compad_jax.summary": 3,
    "compad_jax.train": 4,
    "compad_jax.evaluate": 4,
    "compad_jax.figures": 5,
    "compad_jax.evaluations": 5,
    "compad_jax.report": 5,
    "compad_jax.training_report": 5,
    "compad_jax.tools": 5,
    "train_main": 6,
    "eval_main": 6,
}
_ROOT = pathlib.Path(__file__).parent.parent
_FILES = sorted([*_ROOT.glob("compad_jax/**/*.py"), *_ROOT.glob("*_main.py")])
_OWN = {name.split(".")[0] for name in _RANKS}


def _rank(module):
    """Rank of a module or of a name in one; an unlisted module has none."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in _RANKS and (length > 1 or len(parts) == 1):
            return _RANKS[name]
    raise ValueError(f"{module}: has no rank; give it one in {pathlib.Path(__file__).name}")


def _imported(source, module_exists):
    """Own modules that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: write the import in full")
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if module_exists(name) else node.module for name in inner]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in _OWN)


def _upward_imports(module, source, module_exists):
    """Imports of a module that its rank forbids."""
    rank = _rank(module)
    return [name for name in _imported(source, module_exists) if _rank(name) > rank]


def _module_of(path):
    parts = path.relative_to(_ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _exists(module):
    path = _ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", _FILES, ids=_module_of)
def test_no_upward_import(path):
    assert _upward_imports(_module_of(path), path.read_text(encoding="utf-8"), _exists) == []


def test_all_files_are_found():
    modules = {_module_of(path) for path in _FILES}
    assert {"train_main", "compad_jax.config", "compad_jax.envs.base"} <= modules
    files = set(_RANKS) - {"compad_jax.tools"}
    assert files <= modules  # No rank of a module that is gone.


_RANK_2 = "compad_jax.data.sampler"


@pytest.mark.parametrize(
    ("source", "upward"),
    [
        ("import jax\nimport compad_jax.losses\nfrom compad_jax.data.store import x", []),
        ("from compad_jax import sharding, types", []),
        ("from compad_jax.train import train", ["compad_jax.train"]),
        ("from compad_jax import sharding, report", ["compad_jax.report"]),
        ("import compad_jax.evaluate as e, jax", ["compad_jax.evaluate"]),
        ("import train_main", ["train_main"]),
        ("def f():\n    from compad_jax import train_step", ["compad_jax.train_step"]),
        ("if True:\n    import compad_jax.tools.benchmark", ["compad_jax.tools.benchmark"]),
        ("from compad_jax.train_step import loss_fn", ["compad_jax.train_step"]),
    ],
)
def test_the_check_finds_upward_imports(source, upward):
    exists = lambda name: name in _RANKS  # noqa: E731
    assert _upward_imports(_RANK_2, source, exists) == upward


def test_the_check_refuses_what_it_cannot_judge():
    with pytest.raises(ValueError, match="write the import in full"):
        _upward_imports(_RANK_2, "from . import store", _exists)
    with pytest.raises(ValueError, match=r"compad_jax\.newcomer: has no rank"):
        _upward_imports("compad_jax.newcomer", "", _exists)
    with pytest.raises(ValueError, match=r"compad_jax\.newcomer: has no rank"):
        _upward_imports(_RANK_2, "import compad_jax.newcomer", _exists)
