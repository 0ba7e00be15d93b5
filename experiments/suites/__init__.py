"""The experiments of the project, a file each: what one starts from and what its arms change."""

from typing import NamedTuple

from compad_jax.models import make_policy
from compad_jax.training.restore import MakePolicy
from compad_jax.training.setup import Builders


class Arm(NamedTuple):
    """One way to train and act, told apart from the suite's base."""

    name: str  # A word; names the run directories.
    label: str  # What a reader of the table sees.
    overrides: tuple[str, ...] = ()  # group.field=value
    config: str = ""  # File of its own instead of the suite's.
    starts_from: str = ""  # Arm whose trained decoder this training starts from.
    builders: Builders = Builders()
    act_with: MakePolicy = make_policy
    trained_as: str = ""  # Arm whose training this one evaluates, instead of an own one.
    conditions: "tuple[Condition, ...]" = ()  # Beside the suite's; in place of one of its name.


class Condition(NamedTuple):
    """A way to evaluate a trained policy, told apart from the way it was trained."""

    name: str  # A word; in the results.
    overrides: tuple[str, ...] = ()  # group.field=value, of `eval` and `TEST_SETTINGS`.


class Suite(NamedTuple):
    """An experiment: arms x seeds, each trained on the same number of tokens."""

    question: str
    config: str  # File of the base.
    overrides: tuple[str, ...]  # Of every arm: the budget's.
    num_tokens: int  # Targets of a training.
    warmup_ratio: float  # Of the steps, as these differ.
    seeds: tuple[int, ...]  # Of the training.
    arms: tuple[Arm, ...]  # The first is the base.
    measurements: int = 2  # While training; the criteria ask for the middle and the end.
    conditions: tuple[Condition, ...] = ()  # None: every training is evaluated as its arm says.
    report: str = "ablation_report"  # Module of `experiments` that writes the table and figure.
