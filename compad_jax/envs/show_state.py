"""The whole state as observation: for teachers that are told what students must remember."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from compad_jax.envs.protocol import Discrete, Env, EnvSpec, HidingEnv
from compad_jax.envs.wrapper import Wrapper
from compad_jax.types import Transition


@dataclasses.dataclass(frozen=True)
class ShowState(Wrapper):
    """An environment whose observations end with what the state hides, see `HidingEnv`."""

    env: HidingEnv

    @property
    def spec(self) -> EnvSpec:
        """See `Env`."""
        spec = self.env.spec
        assert isinstance(spec.obs_space, Discrete)
        sizes = (*spec.obs_space.sizes, *self.env.hidden_space.sizes)
        return spec._replace(obs_space=Discrete(sizes))

    def reset(self, key: jax.Array, task: Any) -> tuple[Any, jax.Array]:
        """That of the environment, its observation and what it hides: int [O + H]."""
        env_state, obs = self.env.reset(key, task)
        return env_state, self._show(env_state, obs)

    def step(
        self, key: jax.Array, env_state: Any, action: jax.Array, task: Any
    ) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        """That of the environment, its observation and what it hides."""
        after, obs, reward, terminated = self.env.step(key, env_state, action, task)
        return after, self._show(after, obs), reward, terminated

    def _show(self, env_state: Any, obs: jax.Array) -> jax.Array:
        return jnp.concatenate([obs, self.env.hidden(env_state)])


def hide_state(env: Env, transition: Transition) -> Transition:
    """What a student sees of the steps of a `ShowState` around an environment."""
    size = env.spec.obs_size
    return transition._replace(
        obs=transition.obs[..., :size], next_obs=transition.next_obs[..., :size]
    )
