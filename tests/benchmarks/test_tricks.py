import subprocess
import sys

import pytest

from benchmarks import tricks


def test_every_trick_replaces_what_is_there():
    code = "from benchmarks.tricks import TRICKS; [take_away() for take_away in TRICKS.values()]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_name_that_is_gone_is_an_error():
    with pytest.raises(AttributeError, match="has no no_such_name"):
        tricks._replace(tricks, "no_such_name", None)


def test_ratios_are_taken_round_by_round():
    class Variant:
        def __init__(self, start, steps):
            self.start_seconds, self.step_seconds = start, steps

    base, slower = Variant(10.0, [1.0, 2.0, 4.0]), Variant(15.0, [1.5, 3.0, 6.0])
    row = tricks._row("one", base, slower)
    assert row == {"trick": "one", "step": 1.5, "quartiles": [1.5, 1.5], "start": 1.5}
