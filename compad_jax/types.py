"""The tuples that cross modules, and the one legend of shape letters.

    B  batch            T  environment steps     L  tokens of a segment
    S  segments         M  memory latents        D  width
    H  heads            K  width of a head       A  actions
    G  tasks (goals)    R  seeds or streams      O  coordinates of an observation
    N  layers           W  tokens of the window

Leading axes are written `...` where a function works for any number of them.
"""

from typing import Any, NamedTuple

import jax


class Transition(NamedTuple):
    """One environment step. `next_obs` is the final observation where `done`, not a reset."""

    obs: jax.Array  # int or float [..., O], by the observation space.
    action: jax.Array  # int [...], in [0, A).
    reward: jax.Array  # float [...].
    next_obs: jax.Array  # As `obs`.
    done: jax.Array  # bool [...], the episode ended with this step.


class History(NamedTuple):
    """The life of one learner, or of many with leading axes."""

    transition: Transition  # [..., T]
    # float [..., T, A], the policy to be imitated, if known.
    log_probs: jax.Array | None = None
    # int [..., T], actions to be imitated; None: those that were taken.
    target: jax.Array | None = None
    # int [...], steps of each history, in [1, T]; what follows is padding. None: all T.
    length: jax.Array | None = None

    @property
    def arrays(self) -> dict[str, Any]:
        """The arrays that it has, by name; those of the transition first."""
        own = self._asdict()
        arrays = own.pop("transition")._asdict() | own
        return {name: x for name, x in arrays.items() if x is not None}

    @property
    def log_prob(self) -> jax.Array:
        """Log-probability of the action to be imitated, float [..., T]; needs `log_probs`."""
        assert self.log_probs is not None
        action = self.transition.action if self.target is None else self.target
        index = action[..., None].astype("int32")
        return jax.numpy.take_along_axis(self.log_probs, index, axis=-1)[..., 0]


class Tokens(NamedTuple):
    """All that is known when an action is due: the last transition and the current state."""

    previous: Transition  # [..., L], zeros where `is_first`.
    is_first: jax.Array  # bool [..., L], true only at the start of a history.
    obs: jax.Array  # [..., L, O], the current observation.


class Segments(NamedTuple):
    """Consecutive pieces of windows of histories; padding is on the right."""

    tokens: Tokens  # [..., S, L]
    action: jax.Array  # int [..., S, L], the targets.
    mask: jax.Array  # bool [..., S, L], true for real tokens.
    is_target: jax.Array  # bool [..., S, L], true for real tokens whose action says something.
    floor: jax.Array  # float [..., S, L], lowest expected loss in nats; NaN: not known.


class KeyValue(NamedTuple):
    """Keys and values of one attention layer.

    Heads stand before positions, as a product reads them: a cache in the other order would
    be transposed, whole, at every step of a rollout.
    """

    key: jax.Array  # [..., H, L, K]
    value: jax.Array  # [..., H, L, K]


class Window(NamedTuple):
    """The state of a policy that acts: its memory and the tokens not yet compressed."""

    memory: Any  # What the memory rule keeps: arrays with leading axis B.
    embeddings: jax.Array  # float [B, W, D], embedded tokens; zeros from `length` on.
    cache: tuple[KeyValue, ...]  # N layers of [B, H, M + W, K].
    length: jax.Array  # int [], tokens in the window, the same for the whole batch.
    num_compressions: jax.Array  # int [].
