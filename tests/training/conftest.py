import shutil

import pytest

from tests.training.saved import save_three_steps


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory):
    """A run with checkpoints of steps 1, 2 and 3; see `save_three_steps`."""
    return save_three_steps(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(three_steps, tmp_path):
    """That run, to be changed or damaged."""
    return shutil.copytree(three_steps, str(tmp_path / "run"))
