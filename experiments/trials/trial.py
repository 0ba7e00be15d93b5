"""What a trial tells."""

from typing import NamedTuple


class Trial(NamedTuple):
    """What was done, and what became of the training."""

    kind: str  # Of the fault, a row of the table.
    what: str  # This one of its kind.
    survived: bool
    ended: str  # How: "same result", or the line of the program.
    lost_steps: int = 0  # Trained and logged before, and trained again.
