"""What so many transitions need."""

import pytest

from compad_jax.histories.collection import open_histories
from experiments import scaling_arithmetic
from experiments.scaling_arithmetic import arithmetic_table, measure_store
from tests.builders import override


def test_a_store_is_measured(debug_config, tmp_path):
    config = override(debug_config, data={"dir": str(tmp_path / "store")})
    _, directory = open_histories(config)
    found = measure_store(directory)
    assert found["transitions"] == 25 * 4 * 60
    # Observations, actions and ends of a byte, rewards of four, ten bytes of probabilities.
    assert found["bytes_in_memory"] == 4 + 1 + 1 + 4 + 10
    size = sum(path.stat().st_size for path in tmp_path.rglob("store/**/*") if path.is_file())
    assert found["bytes_on_disk"] == size / found["transitions"]


def test_the_table_divides(monkeypatch):
    rates = {_CPU: {"collect": ("mbie_eb", 2e6)}, _GPU: {"train": ("step", 1e6)}}

    def read_results(path):
        ((suite, (name, rate)),) = rates[path].items()
        return {"suites": {suite: {"measurements": {name: {"rate": {"median": rate}}}}}}

    monkeypatch.setattr(scaling_arithmetic, "read_results", read_results)
    store = '{"store": "s", "commit": "c", "bytes_on_disk": 5.0, "bytes_in_memory": 20.0}'
    monkeypatch.setattr(scaling_arithmetic, "_read", lambda path: store)
    lines = arithmetic_table().splitlines()
    assert lines[2] == "| 10^6 | 5 MB | 0.5 seconds | 1 seconds | 0.12 seconds | 1 | 1 |"
    assert lines[5] == "| 10^12 | 5 TB | 5.79 days | 11.6 days | 1.45 days | 2 | 6 |"
    assert "A GPU then reads 5 MB a second" in lines[-1]


_CPU, _GPU = scaling_arithmetic._CPU, scaling_arithmetic._GPU


@pytest.mark.parametrize(
    ("number", "text"), [(7, "7 B"), (1500, "1.5 kB"), (2e15, "2e+03 TB"), (1e6, "1 MB")]
)
def test_bytes(number, text):
    assert scaling_arithmetic._bytes(number) == text
