"""The policy networks."""

from compad_jax.models.paths import init_window, observe, reconstruct_segments, unroll
from compad_jax.models.policy import Params, Policy, init_params, make_policy
from compad_jax.models.reconstruction import reconstruction_loss

__all__ = [
    "Params",
    "Policy",
    "init_params",
    "init_window",
    "make_policy",
    "observe",
    "reconstruct_segments",
    "reconstruction_loss",
    "unroll",
]
