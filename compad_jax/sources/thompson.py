"""Thompson sampling: a teacher for bandits that pulls an arm as often as it may be the best one.

Source: Thompson (1933), On the likelihood that one unknown probability exceeds another in view of
the evidence of two samples; here with Gaussian rewards and beliefs.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import ThompsonConfig
from compad_jax.sources.arms import ArmTally, make_bandit_source
from compad_jax.types import History

_NUM_POINTS = 100  # Of the quadrature; its error is far below float16's, in which it is stored.


def make_thompson(
    env: Any, config: ThompsonConfig, *, num_streams: int, num_steps: int
) -> Callable[[jax.Array, Any], History]:
    """Builds the source; see `make_bandit_source`.

    Instead of drawing a mean for each arm and pulling the best one, it draws the arm by the
    probabilities that this comes to, so that a history knows the policy behind it.
    """

    def log_probs_of(tally: ArmTally) -> jax.Array:
        precision = config.prior_std**-2 + tally.pulls * config.noise_std**-2
        evidence = config.prior_mean * config.prior_std**-2
        mean = (evidence + tally.reward_sum * config.noise_std**-2) / precision
        return jnp.log(best_arm_probabilities(mean, precision**-0.5))

    sizes = {"num_streams": num_streams, "num_steps": num_steps}
    return make_bandit_source(env, "thompson", log_probs_of, **sizes)


def best_arm_probabilities(mean: jax.Array, std: jax.Array) -> jax.Array:
    """The probability that an arm is the best one, for independent Gaussian beliefs: [..., A].

    P(i) = E[prod over j != i of Phi((x - mean_j) / std_j)], x ~ N(mean_i, std_i^2), by
    Gauss-Hermite quadrature.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(_NUM_POINTS)
    draws = mean[..., None] + std[..., None] * jnp.asarray(points, jnp.float32)  # [..., i, points]
    standard = (draws[..., None] - mean[..., None, None, :]) / std[..., None, None, :]
    log_below = jax.scipy.stats.norm.logcdf(standard)  # [..., i, points, j]
    num_arms = mean.shape[-1]
    others = 1 - jnp.eye(num_arms)[:, None]  # [i, 1, j]
    best = jnp.exp((log_below * others).sum(-1))
    probabilities = (best * jnp.asarray(weights / weights.sum(), jnp.float32)).sum(-1)
    return probabilities / probabilities.sum(-1, keepdims=True)
