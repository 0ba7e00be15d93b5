"""Auto-reset on an environment with terminal states; exact returns by enumeration."""

import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.envs import protocol, tabular
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.envs.tabular import deterministic_model
from tests.builders import random_keys, tasks_of


@dataclasses.dataclass(frozen=True)
class Corridor:
    """Cells 0..5; the task is the terminal cell; the first cell is drawn from 0..3."""

    horizon: int = 6

    @property
    def spec(self):
        return EnvSpec(3, Discrete((6,)), self.horizon, (-1.0, 2.0))

    def reset(self, key, task):
        cell = jax.random.randint(key, (), 0, 4)
        return cell, cell[None]

    def step(self, key, env_state, action, task):
        cell = jnp.clip(env_state + action - 1, 0, 5)
        terminated = cell == task
        return cell, cell[None], jnp.where(terminated, 2.0, -1.0), terminated


def test_auto_reset_keeps_the_final_observation_apart():
    env, num_steps, num_streams = Corridor(), 300, 4
    tasks = np.array([5, 4, 0, 9])  # The last one is never reached.
    actions = np.random.default_rng(0).integers(3, size=(num_steps, num_streams))

    @jax.jit
    def run(keys):
        def act(state, key_and_action):
            keys, action = key_and_action
            step = jax.vmap(lambda k, s, a, t: protocol.step(env, k, s, a, t))
            timestep = step(keys, state, action, tasks)
            reset_keys = jax.vmap(lambda k: jax.random.split(k, 3)[1])(keys)
            restarts, _ = jax.vmap(lambda k: env.reset(k, None))(reset_keys)
            return timestep.state, (timestep, restarts)

        state, obs = jax.vmap(lambda k, t: protocol.reset(env, k, t))(keys[-1], tasks)
        return obs, *jax.lax.scan(act, state, (keys[:-1], actions))[1]

    keys = random_keys((num_steps + 1, num_streams))
    first_obs, timesteps, restarts = jax.device_get(run(keys))
    chex.assert_shape([timesteps.obs, timesteps.next_obs], (num_steps, num_streams, 1))
    chex.assert_shape([timesteps.terminated, timesteps.truncated], (num_steps, num_streams))
    both = 0
    for stream in range(num_streams):
        cell, time = first_obs[stream, 0], 0
        for t in range(num_steps):
            cell = min(5, max(0, cell + actions[t, stream] - 1))
            time += 1
            terminated, truncated = cell == int(tasks[stream]), time == env.horizon
            assert timesteps.next_obs[t, stream, 0] == cell
            assert timesteps.reward[t, stream] == (2.0 if terminated else -1.0)
            assert timesteps.terminated[t, stream] == terminated
            assert timesteps.truncated[t, stream] == truncated
            both += terminated and truncated
            if terminated or truncated:
                cell, time = restarts[t, stream], 0
            assert timesteps.obs[t, stream, 0] == cell
            assert timesteps.state.time[t, stream] == time
    assert both  # A step can be both, and the flags still say so.
    np.testing.assert_array_equal(timesteps.terminated.any(0), [True, True, True, False])


def test_step_refuses_a_batch_of_actions():
    env = Corridor()
    state, _ = protocol.reset(env, jax.random.key(0), jnp.array(5))
    with pytest.raises(AssertionError):
        protocol.step(env, jax.random.key(0), state, jnp.zeros(3, int), jnp.array(5))


def _returns_of_all_plans(model, horizon):
    """Return of every action sequence from every first state, float [states, A**horizon]."""
    next_state, reward = np.asarray(model.next_state), np.asarray(model.reward)
    num_states, num_actions = reward.shape
    columns = []
    for plan in itertools.product(range(num_actions), repeat=horizon):
        state, total = np.arange(num_states), np.zeros(num_states)
        for action in plan:
            total += reward[state, action]
            state = next_state[state, action, 0]
        columns.append(total)
    return np.stack(columns, axis=1)


def _check_by_enumeration(models, horizon):
    """Compares both returns of a batch of models with the best and the mean of all plans."""
    both = jax.vmap(
        lambda m: (tabular.optimal_return(m, horizon), tabular.random_return(m, horizon))
    )
    optimum, at_random = jax.jit(both)(models)
    for i in range(len(optimum)):
        model = jax.tree.map(lambda x, i=i: np.asarray(x[i]), models)
        table = _returns_of_all_plans(model, horizon)  # Transitions are deterministic.
        np.testing.assert_allclose(optimum[i], model.initial @ table.max(1), atol=1e-5)
        np.testing.assert_allclose(at_random[i], model.initial @ table.mean(1), atol=1e-5)


@pytest.mark.parametrize("horizon", [1, 5])
def test_returns_equal_enumeration_on_random_models(horizon):
    rng, num_models = np.random.default_rng(0), 20
    models = jax.vmap(deterministic_model)(
        next_state=rng.integers(4, size=(num_models, 4, 3)),
        reward=rng.normal(size=(num_models, 4, 3)).astype(np.float32),
        initial=rng.dirichlet(np.ones(4), num_models).astype(np.float32),
    )
    _check_by_enumeration(models, horizon)


@pytest.mark.parametrize("start", ["center", "random"])
def test_returns_equal_enumeration_in_a_tiny_room(start):
    env = DarkRoom(grid_size=3, horizon=4, start=start)
    _check_by_enumeration(jax.device_get(jax.vmap(env.tabular)(tasks_of(env))), env.horizon)


@pytest.mark.parametrize(
    ("size", "horizon", "start"),
    [
        (9, 20, "center"),
        (9, 20, "corner"),
        (6, 5, "center"),
        (5, 3, "corner"),
        (1, 4, "center"),
    ],
)
def test_optimal_return_equals_the_closed_form(size, horizon, start):
    env = DarkRoom(size, horizon, start)
    optimum = jax.jit(jax.vmap(lambda t: tabular.optimal_return(env.tabular(t), horizon)))(
        tasks_of(env)
    )
    chex.assert_shape(optimum, (size * size,))
    first = size // 2 if start == "center" else 0
    distance = np.abs(np.asarray(tasks_of(env)) - first).sum(-1)
    # Entering the goal pays already, hence + 1; beyond the horizon nothing does.
    expected = np.clip(horizon + 1 - distance, 0, horizon)
    np.testing.assert_allclose(optimum, expected, rtol=1e-6)


def test_mean_optimum_of_the_paper_room():
    env = DarkRoom(grid_size=9, horizon=20)
    optimum = jax.jit(jax.vmap(lambda t: tabular.optimal_return(env.tabular(t), 20)))(tasks_of(env))
    assert round(float(optimum.mean()), 2) == 16.54


def test_random_return_equals_monte_carlo():
    env, num_episodes = DarkRoom(5, 10), 4000
    task = jnp.array([1, 3])
    actions = np.random.default_rng(0).integers(5, size=(10, num_episodes))

    @jax.jit
    def run(keys):
        def act(states, actions):
            step = jax.vmap(lambda s, a: protocol.step(env, keys[0], s, a, task))
            timesteps = step(states, actions)
            return timesteps.state, timesteps.reward

        states, _ = jax.vmap(lambda k: protocol.reset(env, k, task))(keys)
        returns = jax.lax.scan(act, states, actions)[1].sum(0)
        return returns, tabular.random_return(env.tabular(task), 10)

    returns, exact = jax.device_get(run(random_keys(num_episodes)))
    error = returns.std() / num_episodes**0.5
    assert error < 0.03
    assert abs(returns.mean() - exact) < 3.5 * error
