"""What is packed with what, and that packing changes no number."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from compad_jax.backend.packing import HEAD, REST, pack, unpack
from compad_jax.envs import make_env
from compad_jax.models import init_params, make_policy


def _params(config):
    policy = make_policy(config, make_env(config.env).spec)
    return init_params(policy, jax.random.key(0))


def test_kernels_are_stacked_and_all_else_is_one_vector(debug_config):
    params = _params(debug_config)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = [x for path, x in leaves if path[-1].key == "kernel"]
    others = [x for path, x in leaves if path[-1].key != "kernel"]
    assert {path[-1].key for path, _ in leaves} > {"kernel", "bias", "scale", "position"}
    groups = pack(params)
    assert groups[REST].shape == (sum(x.size for x in others),)
    assert groups[HEAD].shape == (1, *params["head"]["kernel"].shape)
    stacks = {name: x for name, x in groups.items() if name != REST}
    assert sum(len(x) for x in stacks.values()) == len(kernels)
    assert len(stacks) == len({x.shape for x in kernels})
    for name in stacks.keys() - {HEAD}:
        assert name == "x".join(map(str, stacks[name].shape[1:]))


def test_unpack_undoes_pack(debug_config):
    params = _params(debug_config)
    again = unpack(pack(params), params)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


def test_a_tree_without_kernels():
    tree = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
    assert pack(tree).keys() == {REST}
    jax.tree.map(np.testing.assert_array_equal, unpack(pack(tree), tree), tree)


def test_packed_gradients_give_the_same_updates(debug_config):
    params = _params(debug_config)
    gradient = jax.tree.map(lambda x: jnp.cos(7 * x + jnp.arange(x.size).reshape(x.shape)), params)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    apart, together = optimizer.init(params), optimizer.init(pack(params))
    update = jax.jit(optimizer.update)
    for _ in range(2):
        one, apart = update(gradient, apart, params)
        other, together = update(pack(gradient), together, pack(params))
        other = unpack(other, params)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4), one, other)
        gradient = jax.tree.map(lambda x: -2 * x, gradient)
