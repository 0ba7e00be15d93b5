"""Tasks as tables over states, and the exact returns that follow from them."""

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
    """Makes the tables of a task without chance: one outcome of each action.

    Args:
        next_state: int [states, A].
        reward: float [states, A].
        initial: float [states].
        terminal: bool [states]; None: no state is.

    Returns:
        The model, C = 1.
    """
    outcome = next_state[..., None]
    terminal = jnp.zeros(len(next_state), bool) if terminal is None else terminal
    return TabularModel(outcome, jnp.ones(outcome.shape), reward, terminal, initial)


def optimal_return(model: TabularModel, horizon: int) -> jax.Array:
    """Expected return of the best policy over one episode, by backward induction.

    V_h(s) = max_a r(s, a) + sum_c p(c | s, a) V_{h-1}(s_c), with h steps to go; V of a terminal
    state is 0.

    Args:
        model: one task.
        horizon: environment steps of an episode.

    Returns:
        float [], undiscounted.
    """
    return _backward(model, horizon, lambda q: q.max(-1))


def random_return(model: TabularModel, horizon: int) -> jax.Array:
    """Expected return of uniformly random actions over one episode; see `optimal_return`."""
    return _backward(model, horizon, lambda q: q.mean(-1))


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
    """The best expected return of an episode, where it is known.

    It comes from the environment's own `optimal_return(task) -> float []`, or from its tables.

    Args:
        env: the environment.
        tasks: [G, ...].

    Returns:
        float [G], or None where the environment offers neither.
    """
    return _solve(env, tasks, "optimal_return", optimal_return)


def random_returns(env: Env, tasks: Any) -> np.ndarray | None:
    """The expected return of uniformly random actions, where known; see `optimal_returns`."""
    return _solve(env, tasks, "random_return", random_return)


def _solve(
    env: Env, tasks: Any, method: str, solve: Callable[[TabularModel, int], jax.Array]
) -> np.ndarray | None:
    """Returns of each task, float [G], by a method of the environment or from its tables."""
    solve_task: Callable[[Any], jax.Array]
    if hasattr(env, method):
        solve_task = getattr(env, method)
    elif isinstance(env, TabularEnv):
        solve_task = lambda task: solve(env.tabular(task), env.spec.horizon)  # noqa: E731
    else:
        return None
    return np.asarray(jax.jit(jax.vmap(solve_task))(tasks))
