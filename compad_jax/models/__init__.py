"""The policy networks."""

from compad_jax.models.init import init_params, param_shapes
from compad_jax.models.paths import (
    init_window,
    observe,
    reconstruct_segments,
    unroll,
    unroll_loss,
)
from compad_jax.models.policy import Params, Policy, make_policy
from compad_jax.models.reconstruction import reconstruction_loss

__all__ = [
    "Params",
    "Policy",
    "init_params",
    "init_window",
    "make_policy",
    "observe",
    "param_shapes",
    "reconstruct_segments",
    "reconstruction_loss",
    "unroll",
    "unroll_loss",
]
