"""What the faults of the original system do to one that learns.

python -m experiments.ablate --suite faults
"""

from compad_jax.training.setup import Builders
from experiments.faults import make_hasty_policy, make_unmasked_policy, sample_left_padded
from experiments.suites import Arm, Suite
from experiments.suites.why_it_failed import STARTS

SUITE = Suite(
    question="What do the original system's faults do to a policy that learns in context?",
    config="configs/ppo.py",
    overrides=("eval.num_episodes=200",),
    num_tokens=5_160_000,
    warmup_ratio=0.02,
    seeds=(0,),
    arms=(
        Arm("ppo", "configs/ppo.py, shorter"),
        Arm(
            "hasty",
            "acting compresses one transition a step",
            act_with=make_hasty_policy,
            trained_as="ppo",
        ),
        STARTS,
        Arm(
            "padding",
            "padding attended to",
            builders=Builders(make_policy=make_unmasked_policy, make_sampler=sample_left_padded),
        ),
    ),
    measurements=6,
)
