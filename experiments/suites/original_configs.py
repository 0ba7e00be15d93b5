"""The original system's configurations and its fallback options beside each other.

python -m experiments.ablate --suite original_configs
"""

from experiments.suites import Arm, Suite
from experiments.suites.why_it_failed import BATCH

SUITE = Suite(
    question="Which of the original configurations learns in context from PPO?",
    config="configs/original/new.py",
    overrides=(BATCH, "train.log_every=10"),
    num_tokens=2_000_000,
    warmup_ratio=0.02,
    seeds=(0,),
    arms=(
        Arm("new", "NEW"),
        Arm("ad", "standard AD", config="configs/original/standard_ad.py"),
        Arm("option_a", "A: one compression, ten latents", config="configs/original/option_a.py"),
        Arm("option_b", "B: longer window", config="configs/original/option_b.py"),
        Arm("option_c", "C: reconstruction loss", config="configs/original/option_c.py"),
        Arm(
            "option_d",
            "D: from the trained AD",
            config="configs/original/option_d.py",
            starts_from="ad",
        ),
        Arm("old", "OLD", config="configs/original/old.py"),
    ),
)
