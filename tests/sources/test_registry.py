"""Sources by name, also from outside the package."""

import jax
import jax.numpy as jnp
import pytest

from compad_jax import sources
from compad_jax.config import PpoConfig, SourceConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.envs.delayed_bandit import DelayedBandit
from compad_jax.sources import make_source, register_source
from compad_jax.types import History, Transition


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(sources, "_FACTORIES", dict(sources._FACTORIES))


def test_a_source_from_outside_the_package():
    def stay(config, env):
        shape = (config.num_streams, config.num_steps)

        def learn(key, task):
            obs = jnp.broadcast_to(task, (*shape, 2))
            action = jnp.full(shape, env.spec.num_actions - 1)
            transition = Transition(obs, action, action * 0.0, obs, action < 0)
            return History(transition, jnp.zeros((*shape, env.spec.num_actions)))

        return learn

    register_source("stay", stay)
    source = make_source(SourceConfig("stay", num_streams=2, num_steps=3), DarkRoom())
    history = jax.jit(source)(jax.random.key(0), jnp.array([1, 2]))
    assert history.transition.action.tolist() == [[4] * 3] * 2


def test_unknown_name_is_refused():
    message = (
        r"^source\.name='sarsa': known are mbie_eb, ppo, random, staged_search, thompson, ucb; "
    )
    with pytest.raises(ConfigError, match=message):
        make_source(SourceConfig("sarsa"), DarkRoom())


def test_ppo_runs_on_key_to_door_and_sees_the_observation_only():
    env = DarkGoals(3, 10)
    config = PpoConfig(rollout_length=20, batch_size=40, num_epochs=1)
    source = make_source(SourceConfig("ppo", num_streams=4, num_steps=50, ppo=config), env)
    history = jax.jit(source)(jax.random.key(0), env.task(jnp.array(37)))
    assert history.transition.reward.any()
    # In the first rollout one policy acts: where a cell is the same, so are its probabilities.
    cell = history.transition.obs[:, :20].reshape(-1, 2) @ jnp.array([3, 1])
    log_probs = history.log_probs[:, :20].reshape(-1, 5)
    for c in range(9):
        assert len(jnp.unique(log_probs[cell == c].round(4), axis=0)) <= 1


def test_ppo_refuses_an_environment_that_acts_by_itself():
    with pytest.raises(ConfigError, match=r"^source\.name='ppo': .*distractor"):
        make_source(SourceConfig("ppo"), DelayedBandit())
