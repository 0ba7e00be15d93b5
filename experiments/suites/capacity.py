"""How much fits into a memory? Goals in sequence against the number of latents.

python -m experiments.ablate --suite capacity

To return to K goals of 81 cells takes 6.3 K bits. All 20 arms take some three hours on two CPU
cores.
"""

from experiments.suites import Arm, Suite

NUM_GOALS = (1, 2, 4, 8)
NUM_LATENTS = (1, 2, 4, 8, 16)
_SEARCH = 25  # Steps of an episode for each goal.
# There are only 81 such tasks, so that each has more histories.
_ONE_GOAL = ("env.num_tasks=81", "env.train_env_ratio=0.9", "source.num_streams=60")

SUITE = Suite(
    question="How much fits into a memory?",
    config="configs/dark_key_to_door.py",
    overrides=(
        "env.name=dark_goals",
        "source.num_steps=1600",
        "source.staged_search.random_action_rate=0.2",
        "source.staged_search.final_random_action_rate=0.01",
        "train.train_batch_size=12",
        "eval.num_seeds=2",
    ),
    num_tokens=19_200_000,
    warmup_ratio=0.05,
    seeds=(0,),
    arms=tuple(
        Arm(
            f"goals_{goals}_latents_{latents}",
            f"goals: {goals}, latents: {latents}",
            (
                f"env.dark_goals.num_goals={goals}",
                f"env.horizon={_SEARCH * goals}",
                f"model.n_latent={latents}",
                *(_ONE_GOAL if goals == 1 else ()),
            ),
        )
        for goals in NUM_GOALS
        for latents in NUM_LATENTS
    ),
    report="capacity_report",
)
