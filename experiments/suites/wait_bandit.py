"""How long does it stay known which arm pays? The delayed bandit, waits up to a million steps.

python -m experiments.ablate --suite wait_bandit
"""

from experiments.suites import Suite
from experiments.wait_arms import GAPS, LONGEST, rules

SUITE = Suite(
    question="How long does it stay known which arm pays?",
    config="configs/delayed_bandit.py",
    overrides=("env.max_wait=300", "eval.num_seeds=1", "eval.num_episodes=1"),
    num_tokens=19_200_000,
    warmup_ratio=0.05,
    seeds=(0, 1, 2),
    arms=rules(num_latents=12),
    conditions=(*GAPS, LONGEST),
    report="wait_report",
)
