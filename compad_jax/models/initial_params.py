"""The first parameters of a policy, each by its name.

NumPy draws them: they are needed once, and a program that draws them takes longer to compile
than a training step takes to run.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import ModelConfig
from compad_jax.models.policy import Params, Policy
from compad_jax.models.tokens import first_tokens


@functools.cache
def param_shapes(policy: Policy) -> Params:
    """Structure, shapes and types of the parameters, without values."""

    def touch_everything(module: Policy) -> jax.Array:
        no_obs = jnp.zeros((1, policy.window, len(policy.spec.obs_sizes)), jnp.int32)
        embeddings = module.embed(first_tokens(no_obs))
        memory = module.initial_memory(1)
        mask = jnp.ones(embeddings.shape[:2], bool)
        memory = module.compress(memory, module.project(embeddings), mask)
        if module.config.reconstruction_weight:
            module.reconstruct(memory, policy.window)
        return module.decode(memory, embeddings)[0]

    def init() -> Any:
        return policy.init(jax.random.key(0, impl="threefry2x32"), method=touch_everything)

    return jax.eval_shape(init)["params"]


def init_params(policy: Policy, key: jax.Array) -> Params:
    """Draws the first parameters.

    Weights are normal without outliers, and keep the variance of what they multiply (LeCun et
    al., 1998, Efficient backprop); those that add to a residual stream are smaller, so that its
    variance does not grow with depth, as in Radford et al. (2019), GPT-2.

    Args:
        policy: the policy.
        key: PRNG key, consumed; not traced.

    Returns:
        float32 NumPy arrays, see `param_shapes`.
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def draw(path: tuple[Any, ...], x: jax.ShapeDtypeStruct) -> np.ndarray:
        names = [part.key for part in path]
        if names[-1] in ("scale", "bias"):  # Of norms and dense layers: the identity at first.
            return np.full(x.shape, names[-1] == "scale", x.dtype)
        std = _standard_deviation(policy.config, names, x.shape)
        return std * _truncated_normal(generator, x.shape)

    return jax.tree_util.tree_map_with_path(draw, param_shapes(policy))


def _truncated_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers but those beyond 2, scaled to a standard deviation of 1; float32."""
    numbers = generator.standard_normal(shape, np.float32)
    while (outliers := np.abs(numbers) > 2).any():
        numbers[outliers] = generator.standard_normal(outliers.sum(), np.float32)
    return numbers / np.float32(0.87962566)


def _standard_deviation(config: ModelConfig, names: list[str], shape: tuple[int, ...]) -> float:
    """Of a parameter that is drawn, by the names that lead to it and its shape."""
    by_name = {"position": 0.1, "initial_latents": 1.0, "queries": 1.0}
    if names[-1] in by_name:
        return by_name[names[-1]]
    module, inputs = names[-2], shape[0]
    if module == "embedding":  # Of features that are mostly zero.
        return 0.3
    if module == "out":  # Two such layers a block.
        depths = {"compressor": config.encoder_n_layer, "reconstructor": 1}
        return (inputs * 2 * depths.get(names[0], config.tf_n_layer)) ** -0.5
    return inputs**-0.5
