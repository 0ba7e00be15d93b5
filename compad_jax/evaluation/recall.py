"""Is what was learned before a wait still there after it?"""

from typing import Any, NamedTuple

import numpy as np

from compad_jax.envs.protocol import Env
from compad_jax.envs.tabular import all_decision_values, all_fewest_steps, optimal_recalls
from compad_jax.evaluation.statistics import bootstrap

_DETOUR = 2  # Steps beyond the shortest way that still count as direct.


class Recall(NamedTuple):
    """What a policy did after waits; see `tally.Recalled`."""

    steps_to_reward: np.ndarray  # int [E, G, R]
    returns: np.ndarray  # float [E, G, R]
    decision: np.ndarray  # float [E, G, R, A]


class Reference(NamedTuple):
    """What there is to recall in G tasks; None where the environment does not say."""

    fewest_steps: np.ndarray | None  # float [G], of a shortest way to the first reward.
    values: np.ndarray | None  # float [G, A], of the actions at the first decision.
    optimum: np.ndarray | None  # float [G], of the returns.
    first_episode: int  # The first one with a wait behind its decision, from 0.


def make_reference(env: Env, tasks: Any) -> Reference:
    """What an environment says of tasks [G, ...]."""
    return Reference(
        fewest_steps=all_fewest_steps(env, tasks),
        values=all_decision_values(env, tasks),
        optimum=optimal_recalls(env, tasks),
        first_episode=0 if hasattr(env, "recalls") else 1,
    )


def recall_curves(recall: Recall, reference: Reference) -> dict[str, np.ndarray]:
    """What was recalled in each of E episodes.

    Returns:
        Of those that are known, float [E, G, R]:
        `direct`: 1 where the first reward came within a shortest way and two steps more.
        `decision_regret`: the best action's value minus the expected one's at the first decision,
        by the policy's probabilities, so that no draw adds noise.
        `recall_regret`: the optimum minus the return of the steps that recall.
    """
    curves = {}
    if reference.fewest_steps is not None and np.isfinite(reference.fewest_steps).all():
        steps, fewest = recall.steps_to_reward, reference.fewest_steps[:, None]
        curves["direct"] = ((steps > 0) & (steps <= fewest + _DETOUR)).astype(float)
    if reference.values is not None and np.isfinite(reference.values).all():
        expected = np.einsum("egra,ga->egr", recall.decision, reference.values)
        curves["decision_regret"] = reference.values.max(-1)[:, None] - expected
    if reference.optimum is not None:
        curves["recall_regret"] = reference.optimum[:, None] - recall.returns
    return curves


def summarise_recall(recall: Recall | None, reference: Reference) -> dict[str, Any]:
    """Means over the episodes that have a wait behind them, each with its interval.

    Returns:
        Part of `summary.json`: `direct_fraction`, `decision_regret` and `recall_regret`, each with
        `_ci95`; None where it is not known or no episode has a wait behind it.
    """
    names = {"direct": "direct_fraction"}
    curves = recall_curves(recall, reference) if recall else {}
    summary: dict[str, Any] = {}
    for curve in ("direct", "decision_regret", "recall_regret"):
        name = names.get(curve, curve)
        later = curves.get(curve, np.zeros(0))[reference.first_episode :]
        summary[name] = float(later.mean()) if len(later) else None
        summary[f"{name}_ci95"] = bootstrap(later.mean(0)).tolist() if len(later) else None
    return summary
