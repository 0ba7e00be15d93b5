"""How long does a place that was found once stay known? Dark room, waits up to a million steps.

python -m experiments.ablate --suite wait_room
"""

from experiments.suites import Suite
from experiments.wait_arms import GAPS, LONGEST, rules

SUITE = Suite(
    question="How long does a place that was found once stay known?",
    config="configs/dark_room_wait.py",
    overrides=("eval.num_seeds=2", "eval.num_episodes=4"),
    num_tokens=11_520_000,
    warmup_ratio=0.08,
    seeds=(0, 1, 2),
    arms=rules(num_latents=10),
    conditions=(*GAPS, LONGEST),
    report="wait_report",
)
