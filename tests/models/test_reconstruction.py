import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.envs import make_env
from compad_jax.models import reconstruction_loss
from compad_jax.training.objective import loss_fn
from tests.builders import cut, make_model, override, random_transitions


def test_loss_against_a_hand_computation(debug_config):
    spec = make_env(debug_config.env).spec._replace(reward_range=(0.0, 5.0))
    seen = random_transitions(jax.random.key(0), spec, (3,))._replace(
        reward=jnp.array([0.1, 0.9, 40.0])
    )
    sizes = [5, 5, 5, 5, 5]
    logits = np.asarray(jax.random.normal(jax.random.key(1), (3, sum(sizes) + 1)), np.float64)
    for i in range(3):
        targets = [*seen.obs[i], *seen.next_obs[i], seen.action[i]]
        expected, start = 0.5 * (logits[i, -1] - seen.reward[i] / 5) ** 2, 0
        for size, target in zip(sizes, targets, strict=True):
            part = logits[i, start : start + size]
            expected += np.log(np.exp(part).sum()) - part[int(target)]
            start += size
        loss = reconstruction_loss(jnp.asarray(logits), seen, spec)[i]
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_reconstruction_trains_the_compressor_on_compressed_segments_only(debug_config):
    config = override(debug_config, model={"reconstruction_weight": 1.0})
    policy, params = make_model(config)
    history = random_transitions(jax.random.key(0), policy.spec, (2, 26))
    segments = cut(history, [10, 10, 6], 12)

    def reconstruction(reward):
        previous = segments.tokens.previous._replace(reward=reward)
        changed = segments._replace(tokens=segments.tokens._replace(previous=previous))
        _, metrics = loss_fn(params, policy, changed, 0.1, None)
        return metrics.reconstruction

    value, gradient = jax.jit(jax.value_and_grad(reconstruction))(segments.tokens.previous.reward)
    assert value > 5  # Five categories, chance is 8 nats.
    reach = np.abs(np.asarray(gradient)).max(0) > 1e-9
    assert reach[0, 1:10].all()  # Token 0 shows no transition.
    assert reach[1, :10].all()
    assert not reach[2].any()


def test_weight_adds_to_the_loss(debug_config):
    losses = []
    for weight in (0.5, 1.0):
        config = override(debug_config, model={"reconstruction_weight": weight})
        policy, params = make_model(config)
        history = random_transitions(jax.random.key(0), policy.spec, (2, 26))
        run = jax.jit(loss_fn, static_argnums=(1, 3))
        loss, metrics = run(params, policy, cut(history, [10, 10, 6], 12), 0.1, None)
        losses.append(float(loss))
        np.testing.assert_allclose(loss, metrics.loss + weight * metrics.reconstruction, rtol=1e-6)
    assert losses[1] > losses[0]
