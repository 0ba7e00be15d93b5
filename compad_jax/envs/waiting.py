"""A wait between earning and starting anew: what was learned has to outlive it."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs.protocol import EnvSpec
from compad_jax.envs.wrapper import Wrapper
from compad_jax.types import Transition


class Waits(NamedTuple):
    """How long the waits of episodes are; the fields are those of `EnvConfig`."""

    wait: int = -1  # Steps of every wait; negative: they are drawn.
    max_wait: int = 0  # They are drawn from 0..max_wait, log-uniformly if one is added,
    no_wait_ratio: float = 0.0  # but in this share of the episodes there is none.

    @property
    def longest(self) -> int:
        """The most steps that `draw` returns."""
        return self.wait if self.wait >= 0 else self.max_wait

    def draw(self, key: jax.Array) -> jax.Array:
        """Steps of an episode's wait, int [], with a PRNG key that is consumed."""
        if self.wait >= 0 or not self.max_wait:
            return jnp.asarray(self.longest, jnp.int32)
        none = self.no_wait_ratio
        rank = jnp.maximum(0, (jax.random.uniform(key) - none) / (1 - none))
        size = rank * math.log(self.max_wait + 2)
        # Rounding may lead to max_wait + 1.
        return jnp.minimum(jnp.exp(size).astype(jnp.int32) - 1, self.max_wait)


class WaitState(NamedTuple):
    """Where an episode stands."""

    inner: Any  # State of the environment.
    time: jax.Array  # int [], steps before the wait.
    length: jax.Array  # int [], steps of this episode's wait.
    waited: jax.Array  # int [], steps of it that are over.


@dataclasses.dataclass(frozen=True)
class Waiting(Wrapper):
    """An environment whose episodes end with a wait, once there is nothing left to earn.

    From the last reward on, the environment acts at random in the agent's place for a number of
    steps; then the episode ends. One in which something is left to earn ends at the environment's
    own horizon, without a wait.
    """

    env: Any  # A `FinishableEnv`.
    waits: Waits

    @property
    def spec(self) -> EnvSpec:
        """See `Env`; only the longest episodes reach the horizon."""
        spec = self.env.spec
        return spec._replace(horizon=spec.horizon + self.waits.longest)

    @property
    def num_stages(self) -> int | None:
        """See `MappedEnv`."""
        return self.env.num_stages

    def reset(self, key: jax.Array, task: Any) -> tuple[WaitState, jax.Array]:
        """Starts the environment and draws how long the wait will be."""
        reset_key, wait_key = jax.random.split(key)
        inner, obs = self.env.reset(reset_key, task)
        none = jnp.zeros((), jnp.int32)
        return WaitState(inner, none, self.waits.draw(wait_key), none), obs

    def step(
        self, key: jax.Array, env_state: WaitState, action: jax.Array, task: Any
    ) -> tuple[WaitState, jax.Array, jax.Array, jax.Array]:
        """Acts; terminal after the wait, or at the environment's horizon where none began."""
        is_wait = self.distractor(env_state)
        inner, obs, reward, terminated = self.env.step(key, env_state.inner, action, task)
        after = env_state._replace(
            inner=inner, time=env_state.time + ~is_wait, waited=env_state.waited + is_wait
        )
        over = jnp.where(
            self.distractor(after),
            after.waited == after.length,
            after.time == self.env.spec.horizon,
        )
        return after, obs, reward, terminated | over

    def is_finished(self, env_state: WaitState) -> jax.Array:
        """See `FinishableEnv`: the wait has begun."""
        return self.env.is_finished(env_state.inner)

    def distractor(self, env_state: WaitState) -> jax.Array:
        """Whether the environment supplies the action: bool []."""
        return self.is_finished(env_state)

    @property
    def judged_as(self) -> Any:
        """See `tabular`: a wait changes no return and no way to a reward."""
        return self.env

    def optimal_actions(self, transition: Transition, task: Any) -> jax.Array:
        """Those of the environment."""
        return self.env.optimal_actions(transition, task)

    def next_places(self) -> np.ndarray:
        """See `MappedEnv`."""
        return self.env.next_places()

    def place(self, env_state: WaitState) -> jax.Array:
        """See `MappedEnv`."""
        return self.env.place(env_state.inner)
