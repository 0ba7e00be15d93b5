"""Delayed bandit: learn which arm pays, be kept busy, and still know it afterwards.

A Gaussian bandit in the setting of Duan et al. (2016), RL^2: Fast reinforcement learning via slow
reinforcement learning, section 3.1, with a wait in the middle of an episode; the wait is ours.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.envs.waiting import Waits
from compad_jax.types import Transition

_NO_WAIT = Waits()


class BanditState(NamedTuple):
    """Where an episode stands."""

    time: jax.Array  # int [], steps taken.
    wait: jax.Array  # int [], distraction steps of this episode.


@dataclasses.dataclass(frozen=True)
class DelayedBandit:
    """Pulls, distraction steps, and as many pulls of the same arms, which end the episode.

    A pull pays its arm's mean plus Gaussian noise. During the distraction actions are the
    environment's own, and nothing is paid. A task is the means, float [num_arms], uniform in
    [0, 1]. An observation, int [1], is 1 during the distraction and 0 otherwise.
    """

    num_arms: int = 10
    noise: float = 0.3  # Standard deviation of a reward.
    num_pulls: int = 50  # Before the distraction, and again after it.
    waits: Waits = _NO_WAIT  # Distraction steps of an episode.

    @property
    def spec(self) -> EnvSpec:
        """See `Env`; only the longest episodes reach the horizon."""
        longest = 2 * self.num_pulls + self.waits.longest
        return EnvSpec(self.num_arms, Discrete((2,)), longest)

    @property
    def num_tasks(self) -> int:
        """As many as there are numbers of type int32."""
        return 2**31 - 1

    def task(self, index: jax.Array) -> jax.Array:
        """The means that belong to a number, float [num_arms]."""
        # The kind of key is named, so that no default of JAX changes what a number stands for.
        key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), index)
        return jax.random.uniform(key, (self.num_arms,), jnp.float32)

    def reset(self, key: jax.Array, task: jax.Array) -> tuple[BanditState, jax.Array]:
        """Draws the length of the distraction."""
        del task
        wait = self.waits.draw(key)
        return BanditState(jnp.zeros((), jnp.int32), wait), jnp.zeros((1,), jnp.int32)

    def step(
        self, key: jax.Array, env_state: BanditState, action: jax.Array, task: jax.Array
    ) -> tuple[BanditState, jax.Array, jax.Array, jax.Array]:
        """Pulls an arm, or waits; terminal after the last pull."""
        pay = task[action] + self.noise * jax.random.normal(key)
        reward = jnp.where(self.distractor(env_state), 0.0, pay)
        after = BanditState(env_state.time + 1, env_state.wait)
        obs = self.distractor(after).astype(jnp.int32)[None]
        return after, obs, reward, after.time == 2 * self.num_pulls + after.wait

    def distractor(self, env_state: BanditState) -> jax.Array:
        """Whether the environment supplies the action: bool []."""
        since = env_state.time - self.num_pulls
        return (since >= 0) & (since < env_state.wait)

    def recalls(self, env_state: BanditState) -> jax.Array:
        """Whether the distraction is over: bool [...]."""
        return env_state.time >= self.num_pulls + env_state.wait

    def optimal_actions(self, transition: Transition, task: jax.Array) -> jax.Array:
        """See `GuidedEnv`: the best arm, and none in the distraction."""
        best = jax.nn.one_hot(task.argmax(), self.num_arms)
        return jnp.where(transition.obs == 1, 1 / self.num_arms, best)

    def optimal_return(self, task: jax.Array) -> jax.Array:
        """The best arm at every pull, float []."""
        return 2 * self.num_pulls * task.max()

    def random_return(self, task: jax.Array) -> jax.Array:
        """A random arm at every pull, float []."""
        return 2 * self.num_pulls * task.mean()

    def decision_values(self, task: jax.Array) -> jax.Array:
        """What each arm pays on average, float [num_arms]."""
        return task

    def optimal_recall(self, task: jax.Array) -> jax.Array:
        """The best arm at every pull after the distraction, float []."""
        return self.num_pulls * task.max()
