"""How long do a key's and a door's places stay known? Dark key-to-door, waits up to 100,000 steps.

python -m experiments.ablate --suite wait_door
"""

from experiments.suites import Suite
from experiments.wait_arms import gap, rules

SUITE = Suite(
    question="How long do the places of a key and a door stay known?",
    config="configs/dark_key_to_door.py",
    overrides=(
        "env.max_wait=300",
        "env.no_wait_ratio=0.5",
        "env.horizon=160",
        "source.num_steps=1600",
        "train.train_batch_size=12",
        "optimizer.label_smoothing=0.0",
    ),
    num_tokens=46_080_000,
    warmup_ratio=0.05,
    seeds=(0, 1, 2),
    arms=rules(num_latents=16),
    conditions=(
        *(gap(wait, num_episodes=4, num_seeds=1) for wait in (0, 100, 1_000, 10_000)),
        gap(100_000, num_episodes=2, num_seeds=1),
    ),
    report="wait_report",
)
