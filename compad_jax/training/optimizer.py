"""AdamW or Muon, global-norm clipping, decay on weight matrices only, warmup-cosine rate."""

from typing import Any

import jax
import optax

from compad_jax.config import OptimizerConfig

# Makes the size of a Muon update that of an AdamW update, so that both share one `lr`.
_MUON_UPDATE_RMS = 0.2


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Linear warmup from 0 to `lr`, then a cosine to 0 at `num_steps`."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.lr,
        warmup_steps=config.num_warmup_steps,
        decay_steps=num_steps,
    )


def make_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Builds the optimiser of a policy's parameters, whose schedule is `num_steps` long."""
    make = {"adamw": _make_adamw, "muon": _make_muon}[config.name]
    clip = optax.clip_by_global_norm(config.grad_clip_norm)
    return optax.chain(clip, make(config, make_schedule(config, num_steps)))


def _make_adamw(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        schedule,
        b1=config.beta1,
        b2=config.beta2,
        weight_decay=config.weight_decay,
        mask=lambda params: jax.tree_util.tree_map_with_path(_is_matrix, params),
    )


def _make_muon(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Muon for weight matrices but the head's, AdamW without decay for all else.

    Source: Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks;
    the size of its updates as in Liu et al. (2025), Muon is scalable for LLM training.
    Deviation: the embedding is a matrix like the others.
    """

    def matrices(params: Any) -> Any:
        axes = optax.contrib.MuonDimensionNumbers(reduction_axis=0, output_axis=1)
        return jax.tree_util.tree_map_with_path(
            lambda path, x: axes if _is_matrix(path, x) and path[0].key != "head" else None, params
        )

    return optax.contrib.muon(
        schedule,
        beta=config.momentum,
        weight_decay=config.weight_decay,
        adam_b1=config.beta1,
        adam_b2=config.beta2,
        consistent_rms=_MUON_UPDATE_RMS,
        muon_weight_dimension_numbers=matrices,
    )


def _is_matrix(path: tuple[Any, ...], leaf: jax.Array) -> bool:
    """Whether a parameter is a layer's kernel: its name decides, as biases may have two axes."""
    del leaf
    return getattr(path[-1], "key", None) == "kernel"
