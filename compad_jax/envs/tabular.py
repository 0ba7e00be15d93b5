"""Tasks as tables over states, and the exact returns that follow from them.

What an environment does not tell by a method of its own is computed from its tables. One that is
as good as another one, such as its own with a wait added, names that as `judged_as`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs.protocol import Env, TabularEnv


class TabularModel(NamedTuple):
    """A task as tables; an action leads to one of C states, which may be random."""

    next_state: jax.Array  # int [states, A, C]
    probability: jax.Array  # float [states, A, C], of each outcome.
    reward: jax.Array  # float [states, A], expected.
    terminal: jax.Array  # bool [states], entering one ends the episode.
    initial: jax.Array  # float [states], probabilities of the first state.


def deterministic_model(
    next_state: Any, reward: Any, initial: Any, terminal: Any = None
) -> TabularModel:
    """Makes the tables of a task without chance: one outcome of each action, C = 1.

    `next_state` and `reward` are [states, A]; `initial` and `terminal` are [states]. None: no state
    is terminal.
    """
    outcome = next_state[..., None]
    terminal = jnp.zeros(len(next_state), bool) if terminal is None else terminal
    return TabularModel(outcome, jnp.ones(outcome.shape), reward, terminal, initial)


def optimal_return(model: TabularModel, horizon: int) -> jax.Array:
    """Expected return of the best policy over one episode, by backward induction: float [].

    V_h(s) = max_a r(s, a) + sum_c p(c | s, a) V_{h-1}(s_c), with h steps to go; V of a terminal
    state is 0. It is not discounted.
    """
    return _backward(model, horizon, lambda q: q.max(-1))


def random_return(model: TabularModel, horizon: int) -> jax.Array:
    """Expected return of uniformly random actions over one episode; see `optimal_return`."""
    return _backward(model, horizon, lambda q: q.mean(-1))


def fewest_steps(model: TabularModel, horizon: int) -> jax.Array:
    """How soon the best policy can earn anything at all: steps until its first reward, float [].

    NaN where it depends on a random start, or nothing can be earned. No reward may be negative.
    """
    return _at_start(model, _steps_to_reward(model, horizon).min(-1))


def decision_values(model: TabularModel, horizon: int) -> jax.Array:
    """Which first actions lead to the first reward in the fewest steps: 1 for those, float [A].

    0 for others; NaN as for `fewest_steps`.
    """
    steps = _steps_to_reward(model, horizon)
    is_best = (steps == steps.min(-1, keepdims=True)).astype(jnp.float32)
    return jax.vmap(_at_start, (None, 1))(model, jnp.where(jnp.isfinite(steps), is_best, jnp.inf))


def shortest_ways(model: TabularModel, horizon: int) -> jax.Array:
    """The policy that takes every shortest way to the next reward, each as likely as others.

    Probabilities, float [states, A]; uniform where there is no reward. No reward may be negative,
    and one farther away than the horizon counts as none.
    """
    steps = _steps_to_reward(model, horizon)
    is_best = (steps == steps.min(-1, keepdims=True)).astype(jnp.float32)
    return is_best / is_best.sum(-1, keepdims=True)


def _steps_to_reward(model: TabularModel, horizon: int) -> jax.Array:
    """Fewest steps until a reward, by the first action: float [states, A]; inf: none."""
    possible = model.probability > 0
    pays = possible.any(-1) & (model.reward > 0)

    def back_up(steps: jax.Array, _: None) -> tuple[jax.Array, None]:
        steps = jnp.where(model.terminal, jnp.inf, steps.min(-1))
        after = jnp.where(possible, steps[model.next_state], jnp.inf).min(-1)
        return jnp.where(pays, 1, 1 + after), None

    never = jnp.full_like(model.reward, jnp.inf)
    return jax.lax.scan(back_up, never, length=horizon)[0]


def _at_start(model: TabularModel, value: jax.Array) -> jax.Array:
    """A value of states, float [states], in the first one; NaN if that is random, or infinite."""
    first = value[model.initial.argmax()]
    return jnp.where((model.initial.max() == 1) & jnp.isfinite(first), first, jnp.nan)


def _backward(
    model: TabularModel, horizon: int, value_of: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    chex.assert_equal_shape([model.next_state, model.probability])
    chex.assert_equal_shape_prefix([model.next_state, model.reward], 2)

    def back_up(value: jax.Array, _: None) -> tuple[jax.Array, None]:
        after = (model.probability * value[model.next_state]).sum(-1)
        return jnp.where(model.terminal, 0.0, value_of(model.reward + after)), None

    value, _ = jax.lax.scan(back_up, jnp.zeros_like(model.initial), length=horizon)
    return model.initial @ value


def optimal_returns(env: Env, tasks: Any) -> np.ndarray | None:
    """The best expected return of an episode in tasks [G, ...]: float [G], or None if not known.

    It comes from the environment's own `optimal_return(task) -> float []`, or from its tables.
    """
    return _solve(env, tasks, "optimal_return", optimal_return)


def random_returns(env: Env, tasks: Any) -> np.ndarray | None:
    """The expected return of uniformly random actions, where known; see `optimal_returns`."""
    return _solve(env, tasks, "random_return", random_return)


def optimal_recalls(env: Env, tasks: Any) -> np.ndarray | None:
    """The best expected return of the steps that recall, see `protocol.recalls`, where known.

    It is what an environment's own `optimal_recall(task) -> float []` says, or the whole optimum.
    """
    if hasattr(env, "optimal_recall"):
        return np.asarray(jax.jit(jax.vmap(env.optimal_recall))(tasks))
    return optimal_returns(env, tasks)


def all_fewest_steps(env: Env, tasks: Any) -> np.ndarray | None:
    """Steps until the first reward at best, where known; see `fewest_steps`, `optimal_returns`."""
    return _solve(env, tasks, "fewest_steps", fewest_steps)


def all_decision_values(env: Env, tasks: Any) -> np.ndarray | None:
    """How good each action is at the first decision that recalls, float [G, A], where known.

    That is what an environment's own `decision_values(task) -> float [A]` says, or, by its
    tables, which actions set out on a shortest way to the first reward.
    """
    return _solve(env, tasks, "decision_values", decision_values)


def _solve(
    env: Env, tasks: Any, method: str, solve: Callable[[TabularModel, int], jax.Array]
) -> np.ndarray | None:
    """Returns of each task, float [G], by a method of the environment or from its tables."""
    env = getattr(env, "judged_as", env)
    solve_task: Callable[[Any], jax.Array]
    if hasattr(env, method):
        solve_task = getattr(env, method)
    elif isinstance(env, TabularEnv):
        solve_task = lambda task: solve(env.tabular(task), env.spec.horizon)  # noqa: E731
    else:
        return None
    return np.asarray(jax.jit(jax.vmap(solve_task))(tasks))
