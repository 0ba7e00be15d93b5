"""What the first parameters are drawn from."""

import chex
import jax
import numpy as np
import pytest

from compad_jax.envs import make_env
from compad_jax.models import init_params, make_policy, param_shapes
from tests.builders import override


@pytest.fixture(scope="module")
def wide(debug_config):
    """(policy, parameters) of a model that has all parts, wide enough for statistics."""
    model = {
        "tf_n_embd": 64,
        "tf_n_layer": 2,
        "tf_dim_feedforward": 256,
        "n_latent": 40,
        "encoder_n_layer": 3,
        "reconstruction_weight": 1.0,
    }
    config = override(debug_config, model=model)
    policy = make_policy(config, make_env(config.env).spec)
    return policy, init_params(policy, jax.random.key(0))


def test_shapes_are_those_of_the_policy(wide):
    policy, params = wide
    chex.assert_trees_all_equal_shapes_and_dtypes(params, param_shapes(policy))
    assert {"memory", "reconstructor", "blocks_1", "position"} <= set(params)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("embedding/kernel", 0.3),
        ("position", 0.1),
        ("memory/initial_latents", 1.0),
        ("reconstructor/queries", 1.0),
        ("blocks_0/qkv/kernel", 64**-0.5),
        ("blocks_1/feed_forward/wide/kernel", 64**-0.5),
        ("blocks_0/out/kernel", (64 * 4) ** -0.5),  # Two additions a block, two blocks.
        ("blocks_1/feed_forward/out/kernel", (256 * 4) ** -0.5),
        ("memory/compressor/blocks_2/kv_segment/kernel", 64**-0.5),
        ("memory/compressor/blocks_2/out/kernel", (64 * 6) ** -0.5),
        ("memory/compressor/blocks_0/feed_forward/out/kernel", (256 * 6) ** -0.5),
        ("reconstructor/out/kernel", (64 * 2) ** -0.5),
    ],
)
def test_spread_of_what_is_drawn(wide, path, expected):
    values = wide[1]
    for name in path.split("/"):
        values = values[name]
    values = np.asarray(values, np.float64)
    error = 4 / np.sqrt(values.size)  # Four standard errors, of the mean; of the spread 5.6.
    assert abs(values.mean()) < error * expected
    np.testing.assert_allclose(values.std(), expected, rtol=error)
    if path.endswith("kernel"):
        outliers = np.abs(values).max() > 2.3 * expected
        assert outliers == (path == "embedding/kernel")  # The only one that is not truncated.


def test_norms_and_dense_layers_start_as_the_identity(wide):
    names = {"scale": 1, "bias": 0}
    found = []
    for path, values in jax.tree_util.tree_leaves_with_path(wide[1]):
        if path[-1].key in names:
            found.append(path[-1].key)
            np.testing.assert_array_equal(values, names[path[-1].key])
    assert set(found) == set(names)


def test_the_key_decides(wide):
    policy, params = wide
    chex.assert_trees_all_equal(params, init_params(policy, jax.random.key(0)))
    other = init_params(policy, jax.random.key(1))
    assert not np.allclose(params["position"], other["position"])
