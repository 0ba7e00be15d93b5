"""Histories of others against the environment itself, where no chance decides there."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import protocol
from compad_jax.envs.protocol import Discrete, Env
from compad_jax.types import History, Transition

_ROUNDING = 2e-3  # Of rewards that were kept in float16.
_MANY = 4  # Streams that tell a task.


class Contradiction(NamedTuple):
    """The first step of a history at which the environment would have done something else."""

    name: str  # obs, done or reward.
    stream: int
    step: int
    found: Any
    expected: Any


class Replay:
    """Plays the actions of histories again, and tells what contradicts the environment."""

    def __init__(self, env: Env, tasks: Any) -> None:
        """Remembers the environment and its tasks [G, ...]; nothing is played yet."""
        # Real numbers are rounded otherwise by another program: they cannot be compared.
        self.is_possible = isinstance(env.spec.obs_space, Discrete)
        self._tasks, one_task = tasks, jax.vmap(_play_stream(env), (None, None, 0))
        self._play = jax.jit(one_task)
        self._play_tasks = jax.jit(jax.vmap(one_task, (None, 0, None)))

    def play(self, task: int, action: np.ndarray) -> Transition | None:
        """What the environment does in a task by actions, int [R, T]: steps [R, T].

        None where chance decides. Once it has, nothing is played any more.
        """
        if not self.is_possible:
            return None
        chosen, keys = jax.tree.map(lambda x: x[task], self._tasks), map(_key, (0, 1))
        one, other = (jax.device_get(self._play(key, chosen, action)) for key in keys)
        self.is_possible = all(map(np.array_equal, one, other))
        return one if self.is_possible else None

    def tasks_that_fit(self, history: History) -> np.ndarray:
        """Which tasks pay what a history [1, R, T] was paid: ascending, int [.].

        They are told by the streams that were paid most often.
        """
        paid = (history.transition.reward[0] != 0).sum(-1)
        best = np.sort(np.argsort(-paid, kind="stable")[:_MANY])
        few = jax.tree.map(lambda x: x[:, best], history)
        played = jax.device_get(self._play_tasks(_key(0), self._tasks, few.transition.action[0]))
        fits = [
            contradiction(few, jax.tree.map(lambda x, i=i: x[i], played)) is None
            for i in range(len(played.action))
        ]
        return np.flatnonzero(fits)


def contradiction(history: History, played: Transition) -> Contradiction | None:
    """The earliest step of a history [1, R, T] that contradicts what was played, [R, T], or None.

    It is that of the first stream that has one. A reward of 0 contradicts nothing: sources may be
    denied theirs, see `late_reward_ratio`.
    """
    stored = jax.tree.map(lambda x: np.asarray(x[0]), history.transition)
    length = stored.action.shape[1] if history.length is None else history.length[0][:, None]
    real = np.arange(stored.action.shape[1]) < length
    is_close = np.isclose(stored.reward, played.reward, rtol=_ROUNDING, atol=_ROUNDING)
    wrong = {
        "obs": real & (stored.obs != played.obs).any(-1),
        "done": real & (stored.done != played.done),
        "reward": real & (stored.reward != 0) & ~is_close,
    }
    any_wrong = np.logical_or.reduce(list(wrong.values()))
    if not any_wrong.any():
        return None
    stream, step = (int(i) for i in np.argwhere(any_wrong)[0])
    name = next(name for name, x in wrong.items() if x[stream, step])
    both = (getattr(x, name)[stream, step] for x in (stored, played))
    return Contradiction(name, stream, step, *both)


def explain(
    found: Contradiction, task: int, env_name: str, horizon: int, fitting: Sequence[int]
) -> str:
    """One line on a contradiction in the histories of a task, with what is there and what must be.

    `fitting` are the tasks that pay what was paid.
    """
    name, stream, step, was, allowed = found
    text = f"{name}: task {task}, stream {stream}, step {step}: is {was}; must be {allowed}"
    if name == "obs":
        hint = f"does it number its actions otherwise, or is the horizon not {horizon}?"
        return f"{text}, where {env_name} is by then ({hint})"
    if name == "done":
        return f"{text}: episodes of {env_name} end when it says so, or after {horizon} steps"
    if len(fitting) == 1 and fitting[0] != task:
        return (
            f"{text}: these histories are of task {fitting[0]}: the groups are in shuffled order; "
            "group n must be of task n, or tasks='match' (--tasks=match) must sort them"
        )
    return f"{text}, as {env_name} pays, or 0"


def explain_inferred_done(
    found: Contradiction, history: History, task: int, env_name: str, horizon: int
) -> str:
    """As `explain`, where the file has no `done` and its next states and the horizon stood in."""
    _, stream, step, is_end, _ = found
    place = f"task {task}, stream {stream}, step {step}"
    if not is_end:
        return (
            f"done: {place}: the file has none, and nothing in it ends the episode there, as "
            f"{env_name} does; must have dones"
        )
    obs, next_obs = (np.asarray(x[0, stream]) for x in history.transition[::3])
    return (
        f"next_obs: {place}: is {next_obs[step]}, but the next state is {obs[step + 1]}; taken as "
        f"the end of an episode, which {env_name} does not have there (or is the horizon not "
        f"{horizon}?)"
    )


def _key(seed: int) -> jax.Array:
    return jax.random.key(seed, impl="threefry2x32")


def _play_stream(env: Env) -> Callable[[jax.Array, Any, jax.Array], Transition]:
    """Builds (key, task, actions [T]) -> the steps [T] of one history."""

    def play(key: jax.Array, task: Any, action: jax.Array) -> Transition:
        reset_key, key = jax.random.split(key)

        def act(carry: Any, key_and_action: Any) -> tuple[Any, Transition]:
            (state, obs), (key, action) = carry, key_and_action
            x = protocol.step(env, key, state, action, task)
            return (x.state, x.obs), Transition(obs, x.action, x.reward, x.next_obs, x.done)

        keys = jax.random.split(key, len(action))
        action = jnp.asarray(action, jnp.int32)
        return jax.lax.scan(act, protocol.reset(env, reset_key, task), (keys, action))[1]

    return play
