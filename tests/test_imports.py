"""A module has a rank and imports modules of its own or lower ranks only."""

import ast
import pathlib

import pytest

# A folder has a rank, or a file of the package's root; the longest prefix counts.
_RANKS = {
    "compad_jax.types": 0,
    "compad_jax.config": 0,
    "compad_jax.backend": 0,
    "compad_jax.envs": 1,
    "compad_jax.models": 1,
    "compad_jax.sources": 2,
    "compad_jax.histories": 2,
    "compad_jax.training": 3,
    "compad_jax.evaluation": 3,
    "compad_jax": 4,
    "compad_jax.agent": 4,
    "compad_jax.commands": 4,
    "compad_jax.reports": 4,
    "compad_jax.runs": 5,
    "compad_jax.diagnose": 5,
    "train_main": 6,
    "eval_main": 6,
    "experiments": 7,
    "benchmarks": 7,
}
_ROOT = pathlib.Path(__file__).parent.parent
_FILES = sorted(
    path
    for pattern in ("compad_jax/**/*.py", "*_main.py", "experiments/**/*.py", "benchmarks/**/*.py")
    for path in _ROOT.glob(pattern)
)
_OWN = {name.split(".")[0] for name in _RANKS}


def _rank(module):
    """Rank of a module or of a name in one; an unlisted module has none."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in _RANKS and (name != "compad_jax" or len(parts) == 1):
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
    assert {"train_main", "compad_jax.config", "compad_jax.envs.protocol"} <= modules
    assert all(_exists(module) for module in _RANKS)  # No rank of a module that is gone.


_RANK_2 = "compad_jax.histories.sampler"


@pytest.mark.parametrize(
    ("source", "upward"),
    [
        ("import jax\nimport compad_jax.models.policy\nfrom compad_jax.envs.split import x", []),
        ("from compad_jax.backend import sharding\nfrom compad_jax import types", []),
        ("from compad_jax.training.loop import train", ["compad_jax.training.loop"]),
        ("from compad_jax import backend, reports", ["compad_jax.reports"]),
        ("from compad_jax import load", ["compad_jax"]),
        ("import compad_jax.evaluation.rollout as r, jax", ["compad_jax.evaluation.rollout"]),
        ("import train_main", ["train_main"]),
        ("def f():\n    from compad_jax import training", ["compad_jax.training"]),
        ("if True:\n    import benchmarks.bench", ["benchmarks.bench"]),
    ],
)
def test_the_check_finds_upward_imports(source, upward):
    assert _upward_imports(_RANK_2, source, _exists) == upward


def test_the_check_refuses_what_it_cannot_judge():
    with pytest.raises(ValueError, match="write the import in full"):
        _upward_imports(_RANK_2, "from . import store", _exists)
    with pytest.raises(ValueError, match=r"compad_jax\.newcomer: has no rank"):
        _upward_imports("compad_jax.newcomer", "", _exists)
    with pytest.raises(ValueError, match=r"compad_jax\.newcomer: has no rank"):
        _upward_imports(_RANK_2, "import compad_jax.newcomer", _exists)
