"""AdamW with global-norm clipping, decay on weight matrices only, warmup-cosine rate."""

import jax
import optax

from compad_jax.config import OptimizerConfig
from compad_jax.models import Params


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Linear warmup from 0 to `lr`, then a cosine to 0 at `num_steps`."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.lr,
        warmup_steps=config.num_warmup_steps,
        decay_steps=num_steps,
    )


def decay_mask(params: Params) -> Params:
    """True for weight matrices, by name: biases, norms, positions and latents do not decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: getattr(path[-1], "key", None) == "kernel", params
    )


def make_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Builds the optimiser.

    Args:
        config: its settings.
        num_steps: length of the schedule, warmup included.

    Returns:
        The gradient transformation.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.grad_clip_norm),
        optax.adamw(
            make_schedule(config, num_steps),
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=decay_mask,
        ),
    )
