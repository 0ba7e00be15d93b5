import chex
import jax
import numpy as np
import pytest

from compad_jax.envs.protocol import Discrete, EnvSpec, all_observations
from compad_jax.sources.actor_critic import ActorCritic, orthogonal

SPEC = EnvSpec(5, Discrete((3, 4)), 10)


@pytest.mark.parametrize("shape", [(2, 64), (64, 64), (64, 5), (64, 1)])
def test_every_singular_value_of_an_orthogonal_matrix_is_one(shape):
    keys = jax.random.split(jax.random.key(0), 20)
    matrices = jax.jit(jax.vmap(lambda key: orthogonal(key, shape)))(keys)
    values = np.linalg.svd(np.asarray(matrices), compute_uv=False)
    np.testing.assert_allclose(values, 1, atol=1e-4)


def test_shapes_and_first_outputs():
    network = ActorCritic(SPEC, hidden=64, critic_gain=0.01)
    obs = all_observations(SPEC.obs_space).reshape(3, 4, 2)
    (log_probs, value), _ = network.init_with_output(jax.random.key(0), obs)
    chex.assert_shape(log_probs, (3, 4, 5))
    chex.assert_shape(value, (3, 4))
    np.testing.assert_allclose(np.exp(log_probs), 0.2, atol=0.05)
    np.testing.assert_allclose(value, 0, atol=0.1)
