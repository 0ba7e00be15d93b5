"""Eight simulated devices for every test and programs compiled quickly, set before JAX starts."""

import os
import shutil
import tempfile

import jax
import pytest

from compad_jax.config.command_line import load_config

jax.config.update("jax_num_cpu_devices", 8)
# Tests compile far more than they compute: this halves the time of many.
_FLAGS = ["--xla_backend_optimization_level=0"]
if jax.version.__version_info__ < (0, 11):  # Later compilers do not know it, and would abort.
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *_FLAGS])


def pytest_configure(config):
    """All workers share what they compile, afresh every time."""
    if not hasattr(config, "workerinput"):
        config.compilation_cache = tempfile.mkdtemp(prefix="compad_jax_tests_")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.compilation_cache  # Workers inherit it.
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def pytest_unconfigure(config):
    """Leaves nothing behind."""
    if hasattr(config, "compilation_cache"):
        shutil.rmtree(config.compilation_cache, ignore_errors=True)


@pytest.fixture(scope="session")
def debug_config():
    """The smallest config that runs all code paths."""
    return load_config("configs/debug.py")
