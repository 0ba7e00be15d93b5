"""Families of tasks out of XLand-MiniGrid's environments: a task is a layout.

pip install .[xminigrid]
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from compad_jax.config.checks import ConfigError, require
from compad_jax.envs.protocol import Discrete, EnvSpec


@dataclasses.dataclass(frozen=True)
class XMiniGridFamily:
    """An environment of XLand-MiniGrid as a family of tasks; see `make_xminigrid_family`.

    A state is a time step of the package. An observation is what the agent sees, a square of
    cells: of each the kind of its tile and its colour, which are categories.
    """

    env: Any  # Of the package.
    params: Any
    spec: EnvSpec

    @property
    def num_tasks(self) -> int:
        """As many as there are numbers of type int32."""
        return 2**31 - 1

    def task(self, index: jax.Array) -> jax.Array:
        """A task is its number, int []."""
        return jnp.asarray(index, jnp.int32)

    def reset(self, key: jax.Array, task: jax.Array) -> tuple[Any, jax.Array]:
        """See `Env`."""
        del key  # The layout is the task.
        key = jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), task)
        timestep = self.env.reset(self.params, jax.random.key_data(key))
        return timestep, _flat(timestep.observation)

    def step(
        self, key: jax.Array, env_state: Any, action: jax.Array, task: jax.Array
    ) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        """See `Env`; terminal where the goal is reached, and cut off at the limit of steps."""
        del key, task
        after = self.env.step(self.params, env_state, action)
        after = jax.tree.map(lambda x, old: jnp.asarray(x, old.dtype), after, env_state)
        terminated = after.last() & (after.discount == 0)
        return after, _flat(after.observation), after.reward.astype(jnp.float32), terminated


def make_xminigrid_family(name: str, **params: Any) -> XMiniGridFamily:
    """Builds a family: all episodes of a task start in the same layout.

    Args:
        name: what the package calls the environment, for example "MiniGrid-FourRooms".
        **params: parameters of the package, such as `max_steps` and `view_size`.

    Returns:
        The environment.

    Raises:
        ConfigError: the package is not installed, or has no such environment or parameter.
    """
    try:
        import xminigrid
        from xminigrid.core.constants import NUM_COLORS, NUM_TILES
    except ImportError as error:
        raise ConfigError(f"{name}: needs xminigrid: pip install .[xminigrid] ({error})") from error
    try:
        env, values = xminigrid.make(name, **params)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name}: cannot be made by xminigrid: {error}") from error
    shape: Any = env.observation_shape(values)
    require(isinstance(shape, tuple), f"{name}: observations are {shape}; must be one image")
    # One size for tiles and colours, so that all coordinates are embedded at once.
    space = Discrete((max(NUM_TILES, NUM_COLORS),) * (shape[0] * shape[1] * shape[2]))
    spec = EnvSpec(env.num_actions(values), space, int(values.max_steps or 0))
    return XMiniGridFamily(env, values, spec)


def _flat(image: jax.Array) -> jax.Array:
    """Tiles and colours, uint8 [V, V, 2] -> int [O]."""
    return image.astype(jnp.int32).reshape(-1)
