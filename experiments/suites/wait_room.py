"""How long does a place that was found once stay known? Dark room, waits up to a million steps.

python -m experiments.ablate --suite wait_room
"""

from experiments.suites import Suite
from experiments.wait_arms import gap, rules

_LONGEST = (  # More walks of what is claimed to hold.
    gap(100_000, num_episodes=2, num_seeds=16),
    gap(1_000_000, num_episodes=2, num_seeds=2),
)
SUITE = Suite(
    question="How long does a place that was found once stay known?",
    config="configs/dark_room_wait.py",
    overrides=(),
    num_tokens=19_200_000,
    warmup_ratio=0.05,
    seeds=(0, 1, 2),
    arms=rules(num_latents=10, of_the_gate=_LONGEST),
    conditions=(
        *(gap(wait, num_episodes=4, num_seeds=8) for wait in (0, 100, 1_000, 10_000)),
        gap(100_000, num_episodes=2, num_seeds=4),
    ),
    report="wait_report",
)
