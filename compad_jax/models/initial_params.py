"""The first parameters of a policy; each layer states what its own are drawn from."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from compad_jax.backend.process import quick_compile_options
from compad_jax.models.policy import Params, Policy
from compad_jax.models.tokens import first_tokens


@functools.cache
def param_shapes(policy: Policy) -> Params:
    """Structure, shapes and types of the parameters, without values: the same with 64 bits on."""
    with jax.enable_x64(False):
        return jax.eval_shape(lambda: _draw(policy, jax.random.key(0, impl="threefry2x32")))


def init_params(policy: Policy, key: jax.Array) -> Params:
    """Draws the first parameters: float32 NumPy arrays, see `param_shapes`; the key is consumed."""
    draw = jax.jit(_draw, static_argnums=0, compiler_options=quick_compile_options())
    return jax.device_get(draw(policy, key))


def _draw(policy: Policy, key: jax.Array) -> Params:
    """Parameters of everything that a policy can do."""

    def touch_everything(module: Policy) -> Any:
        spec = policy.spec
        no_obs = jnp.zeros((1, policy.window, spec.obs_size), spec.obs_dtype)
        embeddings = module.embed(first_tokens(no_obs))
        memory = module.initial_memory(1)
        memory = module.write(memory, embeddings, jnp.ones(embeddings.shape[:2], bool))
        if module.config.reconstruction_weight:
            module.reconstruct(memory, policy.window)
        return module.decode(module.read(memory), embeddings)

    return policy.init(key, method=touch_everything)["params"]
