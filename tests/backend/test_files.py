"""Files: whole or not at all, and one line on what is wrong with a bad one."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compad_jax.backend import files
from compad_jax.config.checks import ConfigError

_ADVICE = "do something"


@pytest.mark.parametrize(
    ("write", "content"),
    [
        (lambda path: files.write_text(path, "größer\n"), "größer\n".encode()),
        (
            lambda path: files.write_json(path, {"a": [1, None]}, indent=0),
            b'{\n"a": [\n1,\nnull\n]\n}\n',
        ),
        (lambda path: files.write_csv(path, ["a", "b"], [[1, ""], [2, None]]), b"a,b\n1,\n2,\n"),
    ],
)
def test_a_file_is_written_and_replaced(tmp_path, write, content):
    path = tmp_path / "file"
    for _ in range(2):
        write(str(path))
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    files.write_text(str(tmp_path / "ours"), "")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_what_fails_midway_leaves_the_old_file(tmp_path, monkeypatch, where):
    path = tmp_path / "file"
    path.write_text("old")
    foreign = tmp_path / "file.partial"
    foreign.write_text("somebody else's")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if where != "write":
        monkeypatch.setattr(files.os, where, fail)
    with pytest.raises(OSError, match="No space left") as error, files.replacing(str(path)) as name:
        with open(name, "w", encoding="utf-8") as file:
            file.write("new, but cut o")
        if where == "write":
            fail()
    assert error.value.filename == str(path)
    assert path.read_text() == "old"
    assert foreign.read_text() == "somebody else's"
    assert sorted(os.listdir(tmp_path)) == ["file", "file.partial"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    code = """
import os, sys
from compad_jax.backend import files
with files.replacing(sys.argv[1]) as name, open(name, "w") as file:
    file.write("new, but cut o")
    file.flush()
    os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    assert path.read_text() == "old"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_file_holds_a_number_that_is_none(tmp_path, number):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(str(tmp_path / "file"), {"x": number})
    assert os.listdir(tmp_path) == []


def test_what_is_written_is_read(tmp_path):
    path = str(tmp_path / "file")
    files.write_json(path, {"a": 1, "b": {"c": None}})
    assert files.read_json(path, _ADVICE, {"a": int, "b": dict}) == {"a": 1, "b": {"c": None}}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"a": float("nan"), "b": [float("-inf")]}, file)  # By an earlier version.
    assert files.read_json(path, _ADVICE) == {"a": None, "b": [None]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b'{"a": 1', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"3", "holds no JSON object"),
        (b"[]", "holds no JSON object"),
        (b"null", "holds no JSON object"),
        (b"{}", "lacks 'a'"),
        (b'{"a": "1"}', "'a' is '1', of a wrong type"),
        (b'{"a": true}', "'a' is 'True', of a wrong type"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, content, reason):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        files.read_json(str(path), _ADVICE, {"a": int})
    assert str(error.value) == f"{path}: {reason}; {_ADVICE}"


def test_what_the_system_refuses_keeps_its_name(tmp_path):
    with pytest.raises(IsADirectoryError) as error:
        files.read_json(str(tmp_path), _ADVICE)
    assert error.value.filename == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "number", "reason"),
    [
        ("RESOURCE_EXHAUSTED: Failed [os_error_code='28']", 28, "No space left on device"),
        ("strange\nthing", errno.EIO, "strange thing"),
    ],
)
def test_errors_of_libraries_become_the_systems(text, number, reason):
    error = files.as_os_error(ValueError(text), "place")
    assert (error.errno, error.strerror, error.filename) == (number, reason, "place")
