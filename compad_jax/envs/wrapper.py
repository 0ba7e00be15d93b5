"""An environment around another one: whoever changes a little of it writes only that."""

import dataclasses
from typing import Any

import jax

from compad_jax.envs.protocol import EnvSpec


@dataclasses.dataclass(frozen=True)
class Wrapper:
    """Hands on the members of `Env`, and nothing that an environment may have beside them."""

    env: Any  # An `Env`.

    @property
    def spec(self) -> EnvSpec:
        """See `Env`."""
        return self.env.spec

    @property
    def num_tasks(self) -> int:
        """See `Env`."""
        return self.env.num_tasks

    def task(self, index: jax.Array) -> Any:
        """See `Env`."""
        return self.env.task(index)

    def reset(self, key: jax.Array, task: Any) -> tuple[Any, jax.Array]:
        """See `Env`."""
        return self.env.reset(key, task)

    def step(
        self, key: jax.Array, env_state: Any, action: jax.Array, task: Any
    ) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        """See `Env`."""
        return self.env.step(key, env_state, action, task)
