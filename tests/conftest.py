"""Eight simulated devices for every test, set before JAX starts."""

import jax
import pytest

from compad_jax.command_line import load_config

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session")
def debug_config():
    """The smallest config that runs all code paths."""
    return load_config("configs/debug.py")
