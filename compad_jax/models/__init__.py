"""The policy networks."""

from compad_jax.models.act import absorb, find_gates, init_window, observe
from compad_jax.models.fast_unroll import Before, reconstruct_segments, unroll_loss
from compad_jax.models.initial_params import init_params, param_shapes
from compad_jax.models.memory import MemoryRule, register_memory
from compad_jax.models.policy import DropoutKey, Params, Policy, make_policy
from compad_jax.models.reconstruction import reconstruction_loss
from compad_jax.models.unroll import unroll

__all__ = [
    "Before",
    "DropoutKey",
    "MemoryRule",
    "Params",
    "Policy",
    "absorb",
    "find_gates",
    "init_params",
    "init_window",
    "make_policy",
    "observe",
    "param_shapes",
    "reconstruct_segments",
    "reconstruction_loss",
    "register_memory",
    "unroll",
    "unroll_loss",
]
