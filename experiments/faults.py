"""The faults of the original system, for experiments; nothing else imports them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from compad_jax.config import Config
from compad_jax.envs.protocol import EnvSpec
from compad_jax.histories.dataset import Dataset
from compad_jax.histories.sampler import Sampler, make_sampler, plan_segments, sample_segments
from compad_jax.models import Policy, make_policy
from compad_jax.types import Segments


def sample_starts_only(config: Config) -> Sampler:
    """Sampler whose windows all begin at the first step of a history."""
    plan = plan_segments(config)._replace(whole_history=True)
    return partial(sample_segments, plan=plan, batch_size=config.train.train_batch_size)


def sample_left_padded(config: Config) -> Sampler:
    """Sampler that pads segments on the left with tokens that look real.

    Later tokens attend to such padding; with `make_unmasked_policy`, latents do, too.
    """
    sample = make_sampler(config)

    def sample_padded(key: jax.Array, dataset: Dataset) -> Segments:
        segments = sample(key, dataset)
        num_segments, length = segments.mask.shape[1:]
        slots = jnp.full(num_segments, config.data.max_compress_length).at[-1].set(length)
        return pad_left(segments, slots)

    return sample_padded


def pad_left(segments: Segments, slots: jax.Array) -> Segments:
    """Moves the real tokens of each segment to the end of its slot.

    Args:
        segments: [B, S, L], padded on the right.
        slots: int [S], at least the length of every segment.

    Returns:
        Segments [B, S, L]; before the real tokens stand tokens of zeros.
    """
    length = segments.mask.shape[-1]
    shift = slots - segments.mask.sum(-1)  # [B, S]
    source = jnp.arange(length) - shift[..., None]
    is_real = (source >= 0) & (jnp.arange(length) < slots[:, None])

    def move(x: jax.Array) -> jax.Array:
        extra = (1,) * (x.ndim - 3)
        index = jnp.maximum(source, 0).reshape(*source.shape, *extra)
        moved = jnp.take_along_axis(x, index, axis=2)
        return jnp.where(is_real.reshape(*is_real.shape, *extra), moved, jnp.zeros((), x.dtype))

    return jax.tree.map(move, segments)


class UnmaskedPolicy(Policy):
    """A policy whose compressor attends to padding."""

    def write(
        self, memory: Any, embeddings: jax.Array, mask: jax.Array, deterministic: bool = True
    ) -> Any:
        """As `Policy.write`, with every position taken for real."""
        return super().write(memory, embeddings, jnp.ones_like(mask), deterministic)


def make_unmasked_policy(config: Config, spec: EnvSpec) -> Policy:
    """Builds the policy of the settings, its compressor without a mask."""
    policy = make_policy(config, spec)
    fields = "config", "spec", "window", "compress_length", "memory_factory", "dtype"
    return UnmaskedPolicy(*(getattr(policy, name) for name in fields))


def make_hasty_policy(config: Config, spec: EnvSpec) -> Policy:
    """Builds the policy of the settings; acting, it compresses one transition at every step.

    That is what becomes of a full window if a compression takes only its oldest token.
    """
    return make_policy(config, spec).clone(compress_length=1)
