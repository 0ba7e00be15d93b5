"""The policy networks."""

from compad_jax.models.paths import init_window, observe, unroll
from compad_jax.models.policy import Params, Policy, init_params, make_policy

__all__ = ["Params", "Policy", "init_params", "init_window", "make_policy", "observe", "unroll"]
