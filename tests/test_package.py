"""The package as others get it: installed, imported, extended from outside the checkout."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import compad_jax
from compad_jax import envs
from compad_jax.config import from_dict
from compad_jax.histories.collection import load_histories

_ROOT = Path(__file__).parents[1]
_EXAMPLES = _ROOT / "docs" / "examples"


def _run(code_or_file, folder, site, **more):
    """What a process prints that finds the package at `site` only."""
    arguments = [code_or_file] if code_or_file.endswith(".py") else ["-c", code_or_file]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        # Without the flags of the tests, which make programs slow: a user has none.
        env={**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(site), **more},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Where a copy of the package is installed."""
    folder = tmp_path_factory.mktemp("package")
    names = ["git", "-C", str(_ROOT), "ls-files", "-z", "compad_jax"]
    listed = subprocess.run(names, check=True, capture_output=True, text=True).stdout
    for name in (*filter(None, listed.split("\0")), "pyproject.toml", "README.md", "LICENSE"):
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((_ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target"]
    subprocess.run([*command, str(folder / "site"), str(folder / "source")], check=True)
    return folder / "site"


def test_the_import_is_light(tmp_path):
    code = "import sys, compad_jax; print('jax' in sys.modules, 'numpy' in sys.modules)"
    assert _run(code, tmp_path, _ROOT) == "False False\n"


def test_all_that_is_offered_is_there_and_starts_no_backend(tmp_path):
    code = (
        "import compad_jax\n"
        "offered = [getattr(compad_jax, name) for name in compad_jax.__all__]\n"
        "from jax._src import xla_bridge\n"
        "print(all(map(callable, offered)), xla_bridge.backends_are_initialized())\n"
    )
    assert _run(code, tmp_path, _ROOT) == "True False\n"
    names = {"Agent", "Config", "evaluate", "load", "train"}
    names |= {"register_env", "register_memory", "register_source"}
    assert set(compad_jax.__all__) == names <= set(dir(compad_jax))


def test_an_unknown_name_is_said():
    with pytest.raises(AttributeError, match="has no attribute 'fit'"):
        _ = compad_jax.fit


@pytest.mark.parametrize(("command", "said"), [("train", "Does all of it"), ("eval", "Evaluates")])
def test_commands_are_installed(site, tmp_path, command, said):
    program = str(site / "bin" / f"compad-{command}")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for arguments, code, text in (
        (["--help"], 0, said),
        ([], 2, "error: --config FILE is missing"),
    ):
        done = subprocess.run(
            [program, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == code
        assert (done.stdout + done.stderr).startswith(text)


def test_only_the_package_is_installed(site, tmp_path):
    names = {path.name.split("-")[0] for path in site.iterdir()}
    assert names == {"bin", "compad_jax"}
    templates = Path("compad_jax", "reports", "templates")
    own = {path.name for path in (_ROOT / templates).glob("*.*")}
    assert own == {path.name for path in (site / templates).glob("*.*")} >= {"room.js", "page.css"}
    found = _run("import compad_jax; print(compad_jax.__file__)", tmp_path, site)
    assert found == f"{site / 'compad_jax' / '__init__.py'}\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["own_environment", "own_memory_rule"])
def test_examples_run_from_outside(site, tmp_path, name):
    text = (_EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert text.count("\n") <= 40
    # As it stands, but for the number of steps: a test need not see it learn.
    short = text.replace('"train_timesteps": 200', '"train_timesteps": 120')
    assert short != text
    (tmp_path / "example.py").write_text(short, encoding="utf-8")
    cache = {"JAX_COMPILATION_CACHE_DIR": os.environ["JAX_COMPILATION_CACHE_DIR"]}
    printed = _run("example.py", tmp_path, site, **cache)
    assert "greedy" in printed and "report.html" in printed
    (run,) = (tmp_path / "runs").iterdir()
    assert len(list(run.glob("eval/*/summary.json"))) == 2


def _small_own_histories():
    """The example as it stands, but for sizes."""
    text = (_EXAMPLES / "own_histories.py").read_text(encoding="utf-8")
    for old, new in (
        ("NUM_EPISODES = 20, 9", "NUM_EPISODES = 2, 6"),
        ('"lr": 0.012', '"lr": 0.012, "num_warmup_steps": 2'),
        ('{"train_timesteps": 160}', '{"train_timesteps": 20, "quick_compile": True}'),
        ('{"num_episodes": 30}', '{"num_episodes": 2, "num_seeds": 1}'),
        ("values |= {", 'values |= {"model": {"n_latent": 0, "tf_n_layer": 1}}\nvalues |= {'),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    return text


def _execute(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(envs, "_FACTORIES", {**envs._FACTORIES})
    names = {"__name__": "example"}
    exec(compile(text, "own_histories.py", "exec"), names)
    return names


def test_own_histories_are_made_and_fit_the_environment(tmp_path, monkeypatch, capsys):
    """The example up to its training: both of its corridors are one."""
    text, _ = _small_own_histories().split("compad_jax.train(")
    names = _execute(text, tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert "21 tasks x 2 histories of at most 180 steps" in printed
    assert "every step is what corridor does" in printed
    config = from_dict(names["values"])
    history = load_histories(config)
    assert history.length.tolist() == [[180, 150]] * 21
    life = names["lives"][20][1].transition
    np.testing.assert_array_equal(history.transition.obs[20, 1, :150, 0], life.obs)
    np.testing.assert_array_equal(history.transition.reward[20, 1, :150], life.reward)


@pytest.mark.slow
def test_own_histories_are_trained_on_and_evaluated(tmp_path, monkeypatch, capsys):
    _execute(_small_own_histories(), tmp_path, monkeypatch)
    assert "report.html" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").glob("corridor/eval/*/summary.json"))) == 2


def test_the_version_is_the_same_wherever_it_stands():
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    cited = re.search(r"^version: (\S+)$", (_ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    changes = (_ROOT / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## (\d\S+)", changes, re.MULTILINE)
    assert project["version"] == cited[1] == releases[0]
