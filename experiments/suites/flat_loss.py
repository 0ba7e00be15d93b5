"""The original system's flat loss near 1.6, reproduced and removed, in minutes.

python -m experiments.ablate --suite flat_loss
"""

from experiments.suites import Suite
from experiments.suites.why_it_failed import NEW, STARTS

SUITE = Suite(
    question="Is the loss flat because of where windows start?",
    config="configs/original/new.py",
    overrides=("train.train_batch_size=64", "eval.num_episodes=20", "eval.num_seeds=4"),
    num_tokens=1_500_000,
    warmup_ratio=0.02,
    seeds=(0,),
    arms=(NEW, STARTS),
)
