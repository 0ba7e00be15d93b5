"""How long does it stay known which arm pays? The delayed bandit, waits up to a million steps.

python -m experiments.ablate --suite wait_bandit
"""

from experiments.suites import Suite
from experiments.wait_arms import gap, rules

SUITE = Suite(
    question="How long does it stay known which arm pays?",
    config="configs/delayed_bandit.py",
    overrides=("env.max_wait=300",),
    num_tokens=19_200_000,
    warmup_ratio=0.05,
    seeds=(0, 1, 2),
    arms=rules(num_latents=12, of_the_gate=(gap(1_000_000, num_episodes=1, num_seeds=1),)),
    conditions=tuple(
        gap(wait, num_episodes=1, num_seeds=1) for wait in (0, 100, 1_000, 10_000, 100_000)
    ),
    report="wait_report",
)
