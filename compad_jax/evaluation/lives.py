"""Lives step by step: what a policy did, and what its memory was after every compression."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.backend.process import quick_compile_options
from compad_jax.envs.protocol import Env
from compad_jax.evaluation.rollout import RolloutState, init_rollout, rollout_step
from compad_jax.models import Params, Policy, find_gates
from compad_jax.models.policy import apply_method
from compad_jax.types import Transition, Window


class Lives(NamedTuple):
    """B lives of T steps in lockstep, on the host. Version v of a memory follows compression v."""

    transition: Transition  # [T, B]
    waits: np.ndarray  # bool [T, B], the environment acted in the policy's place.
    length: np.ndarray  # int [T], tokens in the window when the action was chosen.
    version: np.ndarray  # int [T], of the memory by which the action was chosen.
    latents: np.ndarray  # float [V + 1, B, M, D], what each version shows to the decoder.
    gates: np.ndarray | None  # float [V, B, M], of each compression; None: the rule has none.

    def of(self, places: slice) -> "Lives":
        """Some of the lives."""
        transition, gates = jax.tree.map(lambda x: x[:, places], (self.transition, self.gates))
        waits, latents = self.waits[:, places], self.latents[:, places]
        return self._replace(transition=transition, waits=waits, latents=latents, gates=gates)

    @property
    def changes(self) -> np.ndarray:
        """How much each latent changed with each compression, relative to its size: [V, B, M]."""
        difference = np.linalg.norm(np.diff(self.latents, axis=0), axis=-1)
        return difference / np.linalg.norm(self.latents[:-1], axis=-1).clip(1e-6)


def record_lives(
    policy: Policy,
    params: Params,
    env: Env,
    tasks: Any,
    greedy: np.ndarray,
    *,
    num_steps: int,
    smoothing: float,
) -> Lives:
    """Lets a policy live once in each task; the lives are always the same ones.

    Args:
        policy: the policy.
        params: its parameters.
        env: the environment.
        tasks: [B, ...], one a life.
        greedy: bool [B], take the likeliest action instead of sampling.
        num_steps: at least so many; a life ends with the last token of a compression.
        smoothing: label smoothing of the training, undone before sampling.
    """

    def step(state: RolloutState, _: None) -> tuple[RolloutState, Any]:
        gates, waits = _gates(policy, params, state.acting.window), jnp.zeros(len(greedy), bool)
        if hasattr(env, "distractor"):
            waits = jax.vmap(env.distractor)(state.episode.env_state)
        after, record = rollout_step(policy, params, env, smoothing, state)
        window = after.acting.window
        return after, (record.transition, waits, window.length, window.num_compressions, gates)

    def until_compressed(state: RolloutState, _: None) -> tuple[RolloutState, Any]:
        state, steps = jax.lax.scan(step, state, length=policy.compress_length)
        shown = apply_method(policy, params, "read", state.acting.window.memory)
        return state, (shown, steps)

    def live(tasks: Any, keys: jax.Array, greedy: jax.Array) -> Any:
        state = init_rollout(policy, params, env, tasks, keys, greedy, num_episodes=1)
        num_chunks = -(-num_steps // policy.compress_length)
        shown, steps = jax.lax.scan(until_compressed, state, length=num_chunks)[1]
        return shown, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)

    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), len(greedy))
    program = jax.jit(live, compiler_options=quick_compile_options())
    shown, steps = jax.device_get(program(tasks, keys, greedy))
    transition, waits, length, version, gates = steps
    # So many steps see one compression at most: no version is missing where they end.
    last = version[policy.compress_length - 1 :: policy.compress_length]
    first = np.unique(last, return_index=True)[1]
    gates = None if gates is None else gates[np.diff(version, prepend=0) > 0]
    return Lives(transition, waits, length, version, shown[first], gates)


def _gates(policy: Policy, params: Params, window: Window) -> jax.Array | None:
    """The gates [B, M] of a compression that comes next; zeros if none does."""

    def find() -> jax.Array | None:
        return find_gates(policy, params, window)

    gates = jax.eval_shape(find)
    if gates is None:
        return None
    none = jnp.zeros(gates.shape, gates.dtype)
    return jax.lax.cond(window.length == policy.window, find, lambda: none)
