"""What rollouts came to, counted on the device while they go on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from compad_jax.envs.protocol import TimeStep


class WaitTally(NamedTuple):
    """What is recalled after a wait, in the first E episodes of B rollouts.

    The steps of an episode that recall are those of which the environment says so, see
    `envs.protocol.recalls`.
    """

    steps_to_reward: jax.Array  # int [B, E], until the first positive reward; 0: there was none.
    returns: jax.Array  # float [B, E], of the steps that recall.
    decision: jax.Array  # float [B, E, A], probabilities of actions at the first of these steps.
    is_open: jax.Array  # bool [B], no step of the current episode recalled so far.


class Tally(NamedTuple):
    """What the first E episodes of B rollouts came to, whatever their lengths."""

    returns: jax.Array  # float [B, E]; of the current episode, so far.
    lengths: jax.Array  # int [B, E], steps.
    num_compressions: jax.Array  # int [B, E], of the rollout by the end of the episode.
    episode: jax.Array  # int [B], the current one; E or more: all are finished.
    wait: WaitTally | None  # None where the environment never makes anybody wait.


def empty_tally(batch: int, num_episodes: int, num_actions: int, *, has_waits: bool) -> Tally:
    """Before the first step; every array has a buffer of its own, which can be donated."""
    shape = (batch, num_episodes)
    wait = None
    if has_waits:
        wait = WaitTally(
            steps_to_reward=jnp.zeros(shape, jnp.int32),
            returns=jnp.zeros(shape, jnp.float32),
            decision=jnp.zeros((*shape, num_actions), jnp.float32),
            is_open=jnp.ones(batch, bool),
        )
    return Tally(
        returns=jnp.zeros(shape, jnp.float32),
        lengths=jnp.zeros(shape, jnp.int32),
        num_compressions=jnp.zeros(shape, jnp.int32),
        episode=jnp.zeros(batch, jnp.int32),
        wait=wait,
    )


def is_over(tally: Tally) -> jax.Array:
    """Whether all episodes that are counted are finished: bool [B]."""
    return tally.episode >= tally.returns.shape[1]


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
        recalls: bool [B], see `WaitTally`.
    """
    place = jnp.arange(len(tally.episode)), tally.episode
    lengths = tally.lengths.at[place].add(1, mode="drop")
    wait = tally.wait
    if wait:
        now = lengths.at[place].get(mode="fill", fill_value=0)
        pays_first = (timestep.reward > 0) & (wait.steps_to_reward.at[place].get() == 0)
        decides = (wait.is_open & recalls)[:, None]
        wait = WaitTally(
            steps_to_reward=wait.steps_to_reward.at[place].add(pays_first * now, mode="drop"),
            returns=wait.returns.at[place].add(recalls * timestep.reward, mode="drop"),
            decision=wait.decision.at[place].add(decides * jnp.exp(log_probs), mode="drop"),
            is_open=(wait.is_open & ~recalls) | timestep.done,
        )
    return Tally(
        returns=tally.returns.at[place].add(timestep.reward, mode="drop"),
        lengths=lengths,
        num_compressions=tally.num_compressions.at[place].set(num_compressions, mode="drop"),
        episode=tally.episode + timestep.done,
        wait=wait,
    )
