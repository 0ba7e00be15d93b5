"""What rollouts came to, counted on the device while they go on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from compad_jax.envs.protocol import TimeStep


class Recalled(NamedTuple):
    """What is recalled after a wait, in an episode.

    The steps of an episode that recall are those of which the environment says so, see
    `envs.protocol.recalls`.
    """

    steps_to_reward: jax.Array  # int, until the first positive reward; 0: there was none.
    returns: jax.Array  # float, of the steps that recall.
    decision: jax.Array  # float [..., A], probabilities of actions at the first of these steps.


class Outcomes(NamedTuple):
    """What episodes came to: leading axes [B, E], or [B] for one of each rollout."""

    returns: jax.Array  # float
    lengths: jax.Array  # int, steps.
    num_compressions: jax.Array  # int, of the rollout by the end of the episode.
    wait: Recalled | None  # None where the environment never makes anybody wait.


class Tally(NamedTuple):
    """What the first E episodes of B rollouts came to, whatever their lengths."""

    episodes: Outcomes  # [B, E], of those that have ended, and of others by `with_current`.
    current: Outcomes  # [B], so far.
    episode: jax.Array  # int [B], the current one; E or more: all are finished.


def empty_tally(batch: int, num_episodes: int, num_actions: int, *, has_waits: bool) -> Tally:
    """Before the first step; every array has a buffer of its own, which can be donated."""

    def nothing(*shape: int) -> Outcomes:
        integers = (jnp.zeros(shape, jnp.int32) for _ in range(3))
        floats = (jnp.zeros(shape, jnp.float32) for _ in range(2))
        decision = jnp.zeros((*shape, num_actions), jnp.float32)
        wait = Recalled(next(integers), next(floats), decision) if has_waits else None
        return Outcomes(next(floats), next(integers), next(integers), wait)

    return Tally(
        episodes=nothing(batch, num_episodes),
        current=nothing(batch),
        episode=jnp.zeros(batch, jnp.int32),
    )


def is_over(tally: Tally) -> jax.Array:
    """Whether all episodes that are counted are finished: bool [B]."""
    return tally.episode >= tally.episodes.returns.shape[1]


def count(
    tally: Tally,
    timestep: TimeStep,
    num_compressions: jax.Array,
    log_probs: jax.Array,
    recalls: jax.Array,
) -> Tally:
    """Adds a step of B environments to the episodes they are in; those beyond the last are ignored.

    Args:
        tally: so far.
        timestep: [B].
        num_compressions: int [], of the policy so far.
        log_probs: float [B, A], by which the actions were chosen.
        recalls: bool [B], see `Recalled`.
    """
    now, done = tally.current, timestep.done
    lengths, wait = now.lengths + 1, now.wait
    if wait is not None:
        pays_first = (timestep.reward > 0) & (wait.steps_to_reward == 0)
        # No step of the episode has recalled so far: probabilities add up to 1.
        is_open = wait.decision.sum(-1) == 0
        decides = (is_open & recalls)[:, None]
        wait = Recalled(
            steps_to_reward=jnp.where(pays_first, lengths, wait.steps_to_reward),
            returns=wait.returns + recalls * timestep.reward,
            decision=wait.decision + decides * jnp.exp(log_probs),
        )
    everywhere = jnp.broadcast_to(num_compressions, lengths.shape)
    now = Outcomes(now.returns + timestep.reward, lengths, everywhere, wait)
    # To write at every step would take longer than the step: a CPU does so row by row.
    episodes = jax.lax.cond(
        done.any(), _write, lambda episodes, *_: episodes, tally.episodes, now, tally.episode, done
    )
    return Tally(
        episodes=episodes,
        current=jax.tree.map(lambda x: jnp.where(_like(done, x), jnp.zeros((), x.dtype), x), now),
        episode=tally.episode + done,
    )


def with_current(tally: Tally) -> Tally:
    """The same with what the current episodes came to so far among the `episodes`."""
    everyone = jnp.ones(tally.episode.shape, bool)
    return tally._replace(episodes=_write(tally.episodes, tally.current, tally.episode, everyone))


def _write(episodes: Outcomes, current: Outcomes, episode: jax.Array, which: jax.Array) -> Outcomes:
    """Puts the outcomes [B] of some rollouts into their places in [B, E], if there are any."""
    rows, beyond = jnp.arange(len(episode)), episodes.returns.shape[1]
    place = rows, jnp.where(which, episode, beyond)
    return jax.tree.map(lambda x, y: x.at[place].set(y, mode="drop"), episodes, current)


def _like(mask: jax.Array, x: jax.Array) -> jax.Array:
    """A mask [B] with as many axes as [B, ...]."""
    return mask.reshape(mask.shape + (1,) * (x.ndim - 1))
