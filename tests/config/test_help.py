"""What `--help` says of settings."""

import dataclasses
import re
import signal
import subprocess
import sys

import pytest

from compad_jax.config import Config, default_config
from compad_jax.config.checks import places_of
from compad_jax.config.command_line import run_program
from compad_jax.config.help import meanings, settings_help, settings_tables


@dataclasses.dataclass(frozen=True)
class _Parent:
    """A group."""

    # In two
    # lines.
    kept: int = 1
    changed: int = 2  # Before.


@dataclasses.dataclass(frozen=True)
class _Child(_Parent):
    """Another."""

    changed: int = 3  # After.
    text: str = "# no comment"
    bare: int = 4


def test_meanings_are_the_comments():
    assert meanings(_Child) == {
        "kept": "In two lines.",
        "changed": "After.",
        "text": "",
        "bare": "",
    }


def test_every_setting_is_there_with_its_default_and_a_meaning():
    text = settings_help()
    found = re.findall(r"^  --config\.(\S+)=(.*)\n      (?=\S)", text, re.MULTILINE)
    values = default_config().to_dict()
    assert [place for place, _ in found] == list(dict.fromkeys(place for place, _ in found))
    assert {place for place, _ in found} == set(places_of(values))
    assert dict(found)["optimizer.lr"] == repr(Config().optimizer.lr)
    assert max(map(len, text.splitlines())) <= 100


def test_tables_have_a_row_a_setting_under_its_group():
    places, group = [], None
    for line in settings_tables().splitlines():
        if line.startswith("### "):
            group = line.removeprefix("### ")
        row = re.fullmatch(r"\| `(\S+)` \| `(.+)` \| (\S.*\S) \|", line)
        if row:
            assert row[1].rpartition(".")[0] == group
            places.append(row[1])
    assert sorted(places) == sorted(places_of(default_config().to_dict()))
    assert "| `env.horizon` | `20` | Environment steps of an episode. |" in settings_tables()


def test_help_of_a_program(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train_main.py", "--help"])
    run_program(pytest.fail, "What it does.")
    output = capsys.readouterr().out
    assert output.startswith("What it does.\n")
    assert "  --config.env.horizon=20\n      Environment steps of an episode.\n" in output


@pytest.mark.parametrize(
    ("program", "code"), [(["train_main.py"], 128 + signal.SIGPIPE), (["-m", "compad_jax.runs"], 0)]
)
def test_help_ends_quietly_where_nobody_reads_on(program, code):
    command = [sys.executable, *program, "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == code
