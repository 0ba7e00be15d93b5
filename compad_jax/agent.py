"""A trained policy for others to act with: it learns in context, its parameters stay."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config.checks import require
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.evaluation.acting import ActingState, Seen, act, first_seen, init_acting
from compad_jax.models import Params, Policy
from compad_jax.training.restore import restore_trained


class Agent:
    """Acts in B environments at once; each is one history, over all its episodes.

    `act_fn` is the pure function underneath, the same that evaluations call; `params` are its
    parameters. It can be jitted, mapped and scanned.
    """

    def __init__(
        self, policy: Policy, params: Params, *, smoothing: float, greedy: bool = False
    ) -> None:
        """Wraps a policy.

        Args:
            policy: the policy.
            params: its parameters.
            smoothing: label smoothing of its training, undone before sampling.
            greedy: take the likeliest action instead of sampling.
        """
        self.policy, self.params, self.greedy = policy, params, greedy
        self._init = jax.jit(partial(init_acting, policy))
        self._act = jax.jit(partial(act, policy, smoothing))

    @property
    def spec(self) -> EnvSpec:
        """Actions and observations of the environments that it was trained in."""
        return self.policy.spec

    def init(self, batch_size: int, seed: int = 0, greedy: bool | None = None) -> ActingState:
        """The state of an agent that has seen nothing.

        Args:
            batch_size: environments, B.
            seed: of the sampled actions.
            greedy: as for the whole agent, where it is not None.

        Returns:
            The state, a pytree of constant size. States may be kept, copied and gone back to.
        """
        keys = jax.random.split(jax.random.key(seed), batch_size)
        is_greedy = self.greedy if greedy is None else greedy
        return self._init(self.params, keys, jnp.full(batch_size, is_greedy))

    def act_fn(
        self,
        params: Params,
        state: ActingState,
        obs: jax.Array,
        reward: jax.Array,
        done: jax.Array,
        final_obs: jax.Array | None = None,
        action: jax.Array | None = None,
    ) -> tuple[jax.Array, ActingState]:
        """The pure function under `step`, without its checks.

        Args:
            params: of the agent.
            state: from `init` or the last call.
            obs: int or float [B, O], by the observation space.
            reward: float [B]; ignored at the first call, as all that follows.
            done: bool [B].
            final_obs: as `obs`; see `step`.
            action: int [B]; see `step`.

        Returns:
            Actions int [B] and the next state.
        """
        seen = Seen(
            obs=obs,
            reward=reward,
            done=done,
            final_obs=obs if final_obs is None else final_obs,
            action=state.action if action is None else action,
        )
        state, _ = self._act(params, state, seen)
        return state.action, state

    def step(
        self,
        state: ActingState,
        obs: Any,
        reward: Any = None,
        done: Any = None,
        *,
        final_obs: Any = None,
        action: Any = None,
    ) -> tuple[Any, ActingState]:
        """Takes in what the last actions did and chooses the next ones.

        Args:
            state: from `init` or the last call.
            obs: int or float [B, O], what to act on; the first of an episode after its end.
            reward: float [B], of the last actions; None at the first call.
            done: bool [B], the last actions ended an episode; None at the first call.
            final_obs: [B, O], where `done`, the observation before the reset; without it the
                policy is told `obs`, which is not what it was trained on.
            action: int [B], the actions really taken, where the environment replaced some.

        Returns:
            Actions int [B], NumPy if `obs` is not a JAX array, and the next state.

        Raises:
            ValueError: an array has another shape, an observation lies outside its space, or
                reward or done is missing.
        """
        is_first = reward is None and done is None
        if not is_first and (reward is None or done is None):
            raise ValueError("reward and done: give both, or neither at the first step")
        if is_first and int(state.step) > 1:
            raise ValueError("reward and done are missing: only the first step has none")
        self._check(obs, state)
        now = jnp.asarray(obs, self.spec.obs_dtype)
        if is_first:
            seen = first_seen(now)
        else:
            seen = Seen(
                obs=now,
                reward=jnp.asarray(reward, jnp.float32),
                done=jnp.asarray(done, bool),
                final_obs=now if final_obs is None else jnp.asarray(final_obs, now.dtype),
                action=state.action if action is None else jnp.asarray(action, jnp.int32),
            )
        _require_shapes(seen, now.shape)
        state, _ = self._act(self.params, state, seen)
        return state.action if isinstance(obs, jax.Array) else np.asarray(state.action), state

    def _check(self, obs: Any, state: ActingState) -> None:
        """Raises ValueError unless observations [B, O] are of their space."""
        if np.shape(obs) != state.obs.shape:
            raise ValueError(f"obs: has shape {np.shape(obs)}, not {state.obs.shape}")
        space = self.spec.obs_space
        if isinstance(space, Discrete) and not isinstance(obs, jax.Array):
            values = np.asarray(obs)
            if (values < 0).any() or (values >= space.sizes).any():
                raise ValueError(f"obs: coordinates must lie in [0, size) for sizes {space.sizes}")


def _require_shapes(seen: Seen, shape: tuple[int, ...]) -> None:
    for name, value in seen._asdict().items():
        expected = shape if name in ("obs", "final_obs") else shape[:1]
        if value.shape != expected:
            raise ValueError(f"{name}: has shape {value.shape}, not {expected}")


def load(run: str, checkpoint: str | None = None, *, greedy: bool = False) -> Agent:
    """Loads an agent that comes with the package, or what was trained in a run directory.

    Args:
        run: the agent's name, or the directory.
        checkpoint: of a run, latest or best (on validation tasks); None: as its settings say.
        greedy: take the likeliest action instead of sampling.

    Returns:
        The agent, on the first device.

    Raises:
        ConfigError: there is no such run, or it has no usable checkpoint.
    """
    which = checkpoint or ""
    require(which in ("", "latest", "best"), f"checkpoint={which!r}: must be latest or best")
    policy, _, params, config = restore_trained(run, which)
    params = jax.device_put(params, jax.devices()[0])
    return Agent(policy, params, smoothing=config.optimizer.label_smoothing, greedy=greedy)
