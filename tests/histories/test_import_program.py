"""The program that imports histories: its command line, and what it prints."""

import subprocess
import sys

import pytest

from compad_jax.config import ConfigError
from compad_jax.config.command_line import one_line_errors
from compad_jax.histories import import_hdf5
from tests.histories import foreign


def test_the_program(path, store):
    """In a process of its own: what it prints are settings to train with."""
    foreign.write_by_task(path, with_final=True)
    flags = ["--env", "dark_room", "--config.env.grid_size=3", "--config.env.horizon=5"]
    command = [sys.executable, "-m", "compad_jax.histories.import_hdf5", path, "--out", store]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert f"--config.data.dir={store} --config.source.name=imported" in done.stdout


def test_settings_of_the_command_line():
    flags, config = import_hdf5.parse(
        ["f", "--out=d", "--config", "configs/debug.py", "--config.env.horizon=7", "--tasks=match"]
    )
    assert (config.env.grid_size, config.env.horizon) == (5, 7)
    assert (flags.file, flags.out, flags.tasks, flags.final_obs) == ("f", "d", "match", "checked")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["f"], "--out"),
        (["f", "--out", "d"], "--env NAME or --config FILE is missing"),
        (["f", "--out", "d", "--env", "dark_room", "more"], r"stray argument \['more'\]"),
        (
            ["f", "--out", "d", "--env", "dark_room", "--config.env.size=3"],
            "no such setting 'size'",
        ),
        (["f", "--out", "d", "--env", "dark_room", "--final_obs=no"], "invalid choice: 'no'"),
    ],
)
def test_mistakes_on_the_command_line(arguments, message):
    with pytest.raises(ConfigError, match=message):
        import_hdf5.main(arguments)


def test_a_file_that_is_not_there_is_a_wrong_name(path, store, capsys):
    with pytest.raises(SystemExit) as end, one_line_errors():
        import_hdf5.main([path, "--out", store, "--env", "dark_room"])
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {path}: no such file\n"
