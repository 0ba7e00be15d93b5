import pytest


@pytest.fixture
def path(tmp_path):
    """Where a file of another program may be written."""
    return str(tmp_path / "histories.hdf5")


@pytest.fixture
def store(tmp_path):
    """Where it may be imported to."""
    return str(tmp_path / "store")
