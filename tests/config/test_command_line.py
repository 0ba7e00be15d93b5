"""The command line: both forms of arguments, and one line for every mistake."""

import glob
import io
import os
import sys

import pytest

from compad_jax.config import Config, from_dict
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import load_config, parse_arguments, run_program

_FILE = os.path.abspath("configs/debug.py")
_HEAD = "from compad_jax.config import default_config\n"


def _parse(*arguments):
    return parse_arguments(["train_main.py", *arguments])


@pytest.fixture
def write(tmp_path):
    """Writes a config file and returns its path."""

    def write_file(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file


@pytest.mark.parametrize("config", [("--config", _FILE), (f"--config={_FILE}",)])
@pytest.mark.parametrize(
    "override", [("--config.env.grid_size=7",), ("--config.env.grid_size", "7")]
)
@pytest.mark.parametrize("workdir", [("--workdir", "here"), ("--workdir=here",)])
@pytest.mark.parametrize("config_first", [True, False])
def test_both_forms_in_any_order(config, override, workdir, config_first):
    others = (*workdir, *override)
    arguments = _parse(*config, *others) if config_first else _parse(*others, *config)
    assert arguments.config.env.grid_size == 7
    assert arguments.config.source.num_streams == 4  # From the file.
    assert arguments.config.train.seed == 0  # From the defaults.
    assert arguments.workdir == "here"
    assert arguments.compare == ()


def test_overrides_have_the_type_of_the_setting():
    config = load_config(
        _FILE,
        [
            "optimizer.lr=1",
            "optimizer.weight_decay=3e-4",
            "env.start=corner",
            "data.whole_history=true",
            "data.max_compress_length=12",
            "source.ppo.clip=0.3",
            "model.n_latent=0",
            "data.dir=some/where",
        ],
    )
    assert (config.optimizer.lr, type(config.optimizer.lr)) == (1.0, float)
    assert config.optimizer.weight_decay == 3e-4
    assert config.env.start == "corner"
    assert config.data.whole_history is True
    assert config.source.ppo.clip == 0.3
    assert (config.model.n_latent, type(config.model.n_latent)) == (0, int)
    assert config.data.dir == "some/where"


def test_a_flag_without_a_value_is_true():
    overrides = ["data.whole_history", "data.max_compress_length=12"]
    assert load_config(_FILE, overrides).data.whole_history is True


def test_calls_do_not_influence_each_other():
    changed = load_config(_FILE, ["env.grid_size=7"])
    assert load_config(_FILE).env.grid_size == 5
    assert changed.env.grid_size == 7


def test_a_file_may_say_only_what_differs(write):
    path = write("def get_config():\n    return {'env': {'grid_size': 6}}\n")
    assert _parse("--config", path).config == from_dict({"env": {"grid_size": 6}})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), "runs/debug"),
        (("optimizer.lr=3e-4",), "runs/debug,optimizer.lr=0.0003"),
        (("train.seed=2", "env.grid_size=7"), "runs/debug,env.grid_size=7,train.seed=2"),
        (("env.grid_size=5",), "runs/debug"),  # As in the file.
        (("eval.num_seeds=9", "eval.split=train"), "runs/debug"),  # No other training.
        (("data.dir=a/b",), "runs/debug,data.dir=a_b"),
    ],
)
def test_default_workdir(overrides, expected):
    arguments = _parse("--config", _FILE, *(f"--config.{o}" for o in overrides))
    assert arguments.workdir == expected


def test_a_long_default_name_is_cut_and_still_its_own():
    """File systems take names of 255 bytes; letters may have several."""
    folders = {
        _parse("--config", _FILE, f"--config.data.dir={'ä' * 300}{end}").workdir for end in "abc"
    }
    assert len(folders) == 3
    for folder in folders:
        assert folder.startswith("runs/debug,data.dir=ää")
        assert 100 < len(os.fsencode(os.path.basename(folder))) < 200


def test_a_tilde_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    arguments = _parse("--config", _FILE, "--workdir=~/run", "--init_from", "~/ad")
    assert arguments.workdir == "/home/somebody/run"
    assert arguments.config.train.init_from == "/home/somebody/ad"
    assert load_config(_FILE, ["data.dir=~/store"]).data.dir == "/home/somebody/store"
    arguments = _parse("--compare", "~/a", "~/b", "--workdir=~/c")
    assert arguments.compare == ("/home/somebody/a", "/home/somebody/b")
    assert arguments.workdir == "/home/somebody/c"
    with pytest.raises(ConfigError, match=r"^'/home/somebody/run': no such agent"):
        _parse("--checkpoint=~/run")


def test_the_exit_code_of_a_stopped_training_is_no_setting():
    arguments = _parse("--config", _FILE, "--stopped_exit_code", "75")
    assert arguments.stopped_exit_code == 75
    assert (arguments.config, arguments.workdir) == (load_config(_FILE), "runs/debug")
    assert _parse("--config", _FILE).stopped_exit_code is None


def test_every_config_file_loads():
    paths = glob.glob("configs/**/*.py", recursive=True)
    assert {"configs/small.py", "configs/original/new.py"} <= set(paths)
    for path in paths:
        name = os.path.basename(path)
        assert _parse("--config", path).workdir == f"runs/{name[:-3]}"


def test_compare():
    arguments = _parse("--compare", "runs/a", "runs/b", "runs/c")
    assert arguments.compare == ("runs/a", "runs/b", "runs/c")
    assert (arguments.config, arguments.workdir) == (Config(), "")
    assert _parse("--workdir", "out", "--compare", "a", "b").workdir == "out"


_NO_FILE = "--config FILE is missing, for example --config configs/small.py"
_MISTAKES = [
    ((), _NO_FILE),
    (("--config",), _NO_FILE),
    (("--config=",), _NO_FILE),
    (("--config.env.grid_size=3",), _NO_FILE),
    (("--config", "nope.py"), "--config nope.py: no such file"),
    (("--config", "configs"), "--config configs: no such file"),
    (("--config", _FILE, "stray"), "stray argument 'stray': write --name=value"),
    (("--config", _FILE, "--", "stray"), "stray argument 'stray': write --name=value"),
    (
        ("--config", _FILE, "--config.data.whole_history", "False"),
        "stray argument 'False': write --config.data.whole_history=False",
    ),
    (("--config", _FILE, "--workdir=a", "b"), "stray argument 'b': write --name=value"),
    (("--config", _FILE, "--stopped_exit_code=0"), "flag --stopped_exit_code=0: "),
    (("--config", _FILE, "--stopped_exit_code=256"), "flag --stopped_exit_code=256: "),
    (("--config", _FILE, "--stopped_exit_code=x"), "flag --stopped_exit_code=x: "),
    (("--config", _FILE, "--foo=1"), "Unknown command line flag 'foo'"),
    (("--config", _FILE, "--workdir"), "Missing value for flag --workdir"),
    (("--compare",), "--compare: name at least two run directories"),
    (("--compare", "runs/a"), "--compare: name at least two run directories"),
]
_WRONG_OVERRIDES = [
    (
        "env.foo=3",
        "--config.env.foo: no such setting 'foo'; known there: dark_goals, delayed_bandit",
    ),
    ("foo=3", "--config.foo: no such setting 'foo'; known there: data, env, eval"),
    (
        "env.grid_size.x=3",
        "--config.env.grid_size.x: no such setting 'x'; did you mean env.grid_size?; known there: "
        "none",
    ),
    ("optim.lr=1", "--config.optim.lr: no such setting 'optim'; did you mean optimizer.lr?; known"),
    (
        "train.horizn=9",
        "--config.train.horizn: no such setting 'horizn'; did you mean env.horizon?; known",
    ),
    ("=3", "--config.: no such setting ''"),
    ("env=3", "--config.env=3: must be a group of settings"),
    ("env.grid_size=many", "--config.env.grid_size=many: must be a whole number"),
    ("env.grid_size=2.5", "--config.env.grid_size=2.5: must be a whole number"),
    ("env.grid_size=None", "--config.env.grid_size=None: must be a whole number"),
    ("env.grid_size", "Missing value for flag --config.env.grid_size"),
    ("optimizer.lr=high", "--config.optimizer.lr=high: must be a number"),
    ("data.whole_history=maybe", "--config.data.whole_history=maybe: must be true or false"),
    ("env.grid_size=0", "env.grid_size=0: must be at least 1"),
    ("optimizer.lr=nan", "optimizer.lr=nan: must be above 0"),
    ("env.start=door", "env.start='door': allowed are center, corner, random"),
    ("model.tf_n_head=3", "model.tf_n_embd=16: must be a multiple of tf_n_head=3"),
]
_MISTAKES += [(("--config", _FILE, f"--config.{o}"), message) for o, message in _WRONG_OVERRIDES]


@pytest.mark.parametrize(("arguments", "message"), _MISTAKES)
def test_mistakes_on_the_command_line(arguments, message):
    with pytest.raises(ConfigError) as error:
        _parse(*arguments)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "--config mine.py: defines no get_config()"),
        ("x = (\n", "--config mine.py: '(' was never closed"),
        ("import no_such_module\n", "--config mine.py: No module named 'no_such_module'"),
        ("def get_config():\n    return {}['a']\n", "--config mine.py: a"),
        ("def get_config():\n    raise ValueError('a\\nb')\n", "--config mine.py: a b"),
        ("def get_config():\n    raise ValueError\n", "--config mine.py: ValueError"),
        ("def get_config():\n    return None\n", "get_config(): 'NoneType' object"),
        ("def get_config():\n    return {'env': 3}\n", "get_config(): "),
        ("def get_config():\n    return {'foo': 3}\n", "foo: no such setting"),
        ("def get_config():\n    return {'env': {'foo': 3}}\n", "env.foo: no such setting"),
        (
            _HEAD + "def get_config():\n    c = default_config()\n    c.env.gridsize = 3\n"
            "    return c\n",
            "env.gridsize: no such setting",
        ),
        (
            _HEAD + "def get_config():\n    c = default_config()\n    c.env.grid_size = 'x'\n"
            "    return c\n",
            "--config mine.py: ",
        ),
        (
            _HEAD + "def get_config():\n    c = default_config()\n    c.env.grid_size = 0\n"
            "    return c\n",
            "env.grid_size=0: must be at least 1",
        ),
    ],
)
def test_mistakes_in_a_config_file(write, monkeypatch, text, message):
    monkeypatch.chdir(os.path.dirname(write(text)))
    with pytest.raises(ConfigError) as error:
        _parse("--config", "mine.py")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_run_program_hands_over_the_arguments(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train_main.py", "--config", _FILE, "--workdir=here"])
    seen = []
    run_program(seen.append)
    assert seen == [_parse("--config", _FILE, "--workdir=here")]
    assert capsys.readouterr().err == ""


def _run(monkeypatch, capsys, arguments, main):
    """Exit code and text on stderr of a program that ends."""
    monkeypatch.setattr("sys.argv", ["train_main.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_program(main)
    captured = capsys.readouterr()
    assert captured.out == ""
    return stopped.value.code, captured.err


@pytest.mark.parametrize(("arguments", "message"), _MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys, arguments, message):
    code, text = _run(monkeypatch, capsys, arguments, lambda _: pytest.fail("must not run"))
    assert code == 2
    assert text.startswith(f"error: {message}")
    assert text.count("\n") == 1


def test_a_mistake_found_later_ends_likewise(monkeypatch, capsys):
    def main(arguments):
        raise ConfigError("the store is damaged")

    code, text = _run(monkeypatch, capsys, ["--config", _FILE], main)
    assert (code, text) == (2, "error: the store is damaged\n")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied", "runs/a"), "runs/a: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("cannot\nbe read"), "cannot be read"),
    ],
)
def test_what_the_file_system_refuses_is_one_line_and_exit_code_1(monkeypatch, capsys, error, text):
    def main(arguments):
        raise error

    code, shown = _run(monkeypatch, capsys, ["--config", _FILE], main)
    assert (code, shown) == (1, f"error: {text}\n")


def test_a_system_without_posix_is_told_at_once(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    code, shown = _run(monkeypatch, capsys, [], lambda _: pytest.fail("must not run"))
    assert code == 2
    assert shown.startswith("error: this system has no fcntl: the programs run on Linux and macOS")


def test_a_terminal_may_know_ascii_only(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.argv", ["train_main.py", "--config", _FILE])
    run_program(lambda _: print("70\u201380%"))
    assert stream.buffer.getvalue() == rb"70\u201380%" + b"\n"  # Written without waiting.


def test_bugs_keep_their_traceback(monkeypatch):
    def main(arguments):
        raise ValueError("a bug")

    monkeypatch.setattr("sys.argv", ["train_main.py", "--config", _FILE])
    with pytest.raises(ValueError, match="a bug"):
        run_program(main)


@pytest.mark.parametrize("words", [("--init_from", "runs/ad"), ("--init_from=runs/ad",)])
def test_init_from_is_a_setting(words):
    arguments = _parse("--config", _FILE, *words)
    assert arguments.config.train.init_from == "runs/ad"
    assert arguments.workdir.endswith(",train.init_from=runs_ad")


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_prints_the_usage_and_runs_nothing(word, monkeypatch, capsys):
    def main(arguments):
        raise AssertionError("ran")

    monkeypatch.setattr("sys.argv", ["train_main.py", word])
    run_program(main)
    shown = capsys.readouterr().out
    assert __doc__ in shown
    assert "--config.env.horizon=20" in shown
