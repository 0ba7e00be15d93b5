"""When is a memory needed? Dark rooms with a wait of a fixed length: wait against window.

python -m experiments.ablate --suite law

Between the step that shows where the goal is and the next decision about it lie as many random
steps as the wait has, which a window either reaches over or not. Both methods decode from the
same number of tokens; of CompAD's, a quarter are latents. All 40 arms take some four hours on two
CPU cores.

The environment acts in the wait. If the policy itself filled the time up to a fixed horizon, its
actions there, which no target teaches, would differ from its teacher's random ones, and its
memory would meet what it was not trained on.
"""

from experiments.suites import Arm, Condition, Suite
from experiments.wait_arms import ad

WAITS = (20, 40, 60, 100, 200)
WINDOWS = (20, 40, 80, 160)  # Decoder tokens.


def _compad(tokens: int) -> tuple[str, ...]:
    kinds = [f"{bound}_{kind}" for kind in ("compress", "uncompressed") for bound in ("min", "max")]
    lengths = [f"data.{kind}_length={tokens - tokens // 4}" for kind in kinds]
    return (f"model.n_latent={tokens // 4}", *lengths)


def _arms() -> list[Arm]:
    methods = {"compad": ("CompAD", _compad), "ad": ("AD", ad)}
    return [
        Arm(
            f"{name}_{wait}_{tokens}",
            f"{label}, waits of {wait}, window of {tokens}",
            (f"env.wait={wait}", *overrides(tokens)),
        )
        for wait in WAITS
        for tokens in WINDOWS
        for name, (label, overrides) in methods.items()
    ]


def _arms_of_all_waits() -> list[Arm]:
    """Trained on waits of 1 to 300 steps, a quarter of the episodes without, and tested on each."""
    return [
        Arm(
            f"compad_any_{tokens}",
            f"CompAD, all waits, window of {tokens}",
            ("env.max_wait=300", "env.no_wait_ratio=0.25", *_compad(tokens)),
            conditions=tuple(Condition(str(wait), (f"env.wait={wait}",)) for wait in WAITS),
        )
        for tokens in WINDOWS
    ]


SUITE = Suite(
    question="When is a memory needed?",
    config="configs/dark_room_wait.py",
    overrides=("env.max_wait=0", "env.no_wait_ratio=0.0", "eval.num_episodes=50"),
    num_tokens=11_520_000,
    warmup_ratio=0.08,
    seeds=(0, 1, 2),
    arms=(*_arms(), *_arms_of_all_waits()),
    conditions=(Condition("as_trained"),),
    report="law_report",
)
