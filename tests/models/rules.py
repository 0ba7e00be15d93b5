"""Every registered memory rule, one that is registered here from outside, and ways to run them."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from compad_jax.config import ModelConfig
from compad_jax.models import init_window, observe, register_memory
from compad_jax.models.memory.protocol import _FACTORIES
from tests.builders import make_model, override


class RunningMean(nn.Module):
    """One token, the mean of all tokens ever compressed; an integer counts them."""

    config: ModelConfig
    dtype: Any

    def initial(self, batch):
        total = jnp.zeros((batch, self.config.tf_n_embd), self.dtype)
        return {"total": total, "count": jnp.zeros(batch, jnp.int32)}

    def write(self, memory, segment, mask, *, deterministic=True):
        total = memory["total"] + (segment * mask[..., None]).sum(1)
        return {"total": total, "count": memory["count"] + mask.sum(1)}

    def read(self, memory):
        return (memory["total"] / jnp.maximum(memory["count"], 1)[:, None])[:, None]


register_memory("running_mean", RunningMean)
RULES = sorted(_FACTORIES)
REMEMBERING = [name for name in RULES if name != "none"]


def make_rule_model(debug_config, rule, compress=5, **model):
    """(policy, parameters) with this rule, windows of 12 tokens and compressions of `compress`.

    A cache holds 30 states, so that it reaches back as far as tests look.
    """
    model = ({"n_latent": 30} if rule == "cache" else {}) | model
    data = {"min_compress_length": 1, "max_compress_length": compress}
    return make_model(override(debug_config, data=data, model={"memory_update": rule, **model}))


@partial(jax.jit, static_argnums=0)
def act(policy, params, tokens):
    """Logits [B, T, A] of the acting path, and the compressions done before each step, [T]."""

    def step(window, token):
        window, logits = observe(policy, params, window, token)
        return window, (logits, window.num_compressions)

    one_by_one = jax.tree.map(lambda x: jnp.swapaxes(x[:, :, None], 0, 1), tokens)
    window = init_window(policy, params, len(tokens.is_first))
    _, (logits, compressions) = jax.lax.scan(step, window, one_by_one)
    return jnp.swapaxes(logits, 0, 1), compressions
