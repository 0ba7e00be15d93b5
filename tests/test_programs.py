"""Programs on disk: found again only where they are the same, and made anew where damaged."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax import programs


@pytest.fixture
def directory(tmp_path):
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "programs"
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture
def load():
    """Loads or compiles a program; returns the number of the tracing that made it."""
    traced = []

    def load(shape=(3,), dtype=jnp.float32, name="multiply", settings=("a", 1)):
        def multiply(x):  # A new one: JAX remembers what it traced.
            traced.append(x)
            return {"product": x * len(traced)}

        x = jnp.ones(shape, dtype)
        program = programs.load_or_compile(name, jax.jit(multiply), x, settings=settings)
        product = np.unique(program(x)["product"])
        return product.item()

    return load


def test_the_same_is_traced_once(directory, load):
    assert load() == 1
    assert load() == 1
    assert [path.name.split("-")[0] for path in directory.iterdir()] == ["multiply"]


@pytest.mark.parametrize(
    "change",
    [{"shape": (4,)}, {"dtype": jnp.int32}, {"name": "other"}, {"settings": ("a", 2)}],
    ids=lambda change: next(iter(change)),
)
def test_another_one_is_not_mistaken_for_it(directory, load, change):
    assert load() == 1
    assert load(**change) == 2
    assert load(**change) == 2
    assert load() == 1


def test_what_the_cache_of_jax_held_is_not_kept(directory):
    """It would load, and fail when called."""
    x = jnp.ones(3)
    for settings in (1, 2, 2):
        program = programs.load_or_compile("same", jax.jit(lambda x: 5 * x), x, settings=settings)
        np.testing.assert_array_equal(program(x), 5 * np.ones(3))
    assert len(list(directory.iterdir())) == 1


@pytest.mark.parametrize(
    "fact",
    ["_sources", "describe_hardware", "describe_instruction_sets", "describe_versions"],
)
def test_nor_is_one_from_elsewhere(directory, load, monkeypatch, fact):
    assert load() == 1
    monkeypatch.setattr(programs, fact, lambda: "another")
    assert load() == 2


def test_options_of_the_compiler_count(directory, load, monkeypatch):
    assert load() == 1
    monkeypatch.setenv("XLA_FLAGS", "--xla_other")
    assert load() == 2


@pytest.mark.parametrize("content", [b"", b"nonsense", None], ids=["empty", "nonsense", "cut"])
def test_a_damaged_one_is_made_anew(directory, load, content):
    assert load() == 1
    (path,) = directory.iterdir()
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    assert load() == 2
    assert load() == 2


def test_without_settings_nothing_is_kept(directory, load):
    assert load(settings=None) == 1
    assert load(settings=None) == 2
    assert not directory.exists()


def test_without_room_it_still_compiles(directory, load):
    directory.write_text("a file where the folder should be")
    assert load() == 1
    assert load() == 2


def test_where_it_cannot_be_serialised_it_still_compiles(directory, load, monkeypatch):
    def refuse(compiled):
        raise ValueError("Compilation does not support serialization")

    monkeypatch.setattr(programs.serialize_executable, "serialize", refuse)
    assert load() == 1
    assert load() == 2


def test_the_oldest_go_first(directory, load, monkeypatch):
    monkeypatch.setattr(programs, "_MOST_KEPT", 2)
    assert [load(settings=i) for i in (1, 2, 3)] == [1, 2, 3]
    assert len(list(directory.iterdir())) == 2
    assert [load(settings=i) for i in (2, 3, 1)] == [2, 3, 4]


def test_every_source_of_the_package_counts(monkeypatch):
    read, real = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or real(path))
    sources = programs._sources.__wrapped__  # Without its cache.
    before = sources()
    assert {"programs.py", "compressor.py", "dark_room.py"} <= set(read)
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + b"#")
    assert sources() != before
