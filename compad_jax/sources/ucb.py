"""Upper confidence bounds: a teacher for bandits.

Source: Auer, Cesa-Bianchi & Fischer (2002), Finite-time analysis of the multiarmed bandit problem
(UCB1). Deviation: the bonus of an arm is weight / sqrt(pulls), without the logarithm of all pulls,
so that it is a function of what was seen of the arm alone and easier to imitate.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from compad_jax.config import UcbConfig
from compad_jax.sources.arms import ArmTally, make_bandit_source
from compad_jax.types import History


def make_ucb(
    env: Any, config: UcbConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, Any], History]:
    """Builds the source; see `make_bandit_source`.

    It pulls the first arm of the largest mean + weight / sqrt(pulls), and so at first every arm
    once, in their order: an order drawn for each learner could not be imitated.
    """

    def log_probs_of(tally: ArmTally) -> jax.Array:
        best = ucb_index(tally.pulls, tally.reward_sum, config.bonus_weight).argmax(-1)
        return jnp.log(jax.nn.one_hot(best, tally.pulls.shape[-1]))

    sizes = {"num_streams": num_streams, "num_steps": num_steps}
    return make_bandit_source(env, "ucb", log_probs_of, **sizes)


def ucb_index(pulls: jax.Array, reward_sum: jax.Array, bonus_weight: float) -> jax.Array:
    """Mean reward + weight / sqrt(pulls), infinite where there was none: float [..., A]."""
    known = jnp.maximum(pulls, 1)
    return jnp.where(pulls > 0, reward_sum / known + bonus_weight / jnp.sqrt(known), jnp.inf)
