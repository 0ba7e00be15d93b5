import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.envs import make_env
from compad_jax.evaluation.rollout import init_rollout, make_rollout, rollout_step
from compad_jax.models import unroll
from compad_jax.training.losses import undo_smoothing
from tests.builders import cut, make_model, override, tasks_of

_SMOOTHING = 0.1


def _start(config, policy, params, num_seeds=2, greedy=False, seed=0):
    env = make_env(config.env)
    tasks = jnp.repeat(tasks_of(env)[jnp.array([0, 7, 24])], num_seeds, axis=0)
    keys = jax.random.split(jax.random.key(seed), len(tasks))
    flags = jnp.full(len(tasks), greedy)
    return env, init_rollout(policy, params, env, tasks, keys, flags)


def _play(config, num_steps, greedy=False):
    """The records [T, B] of a rollout, its policy, params and last state."""
    policy, params = make_model(config)
    env, state = _start(config, policy, params, greedy=greedy)

    def run(state):
        step = lambda s, _: rollout_step(policy, params, env, _SMOOTHING, s)  # noqa: E731
        return jax.lax.scan(step, state, length=num_steps)

    final, records = jax.jit(run)(state)
    return records, policy, params, final


def test_logits_of_a_real_rollout_equal_the_training_path(debug_config):
    config = override(
        debug_config,
        data={"max_compress_length": 10, "max_uncompressed_length": 10, "min_compress_length": 1},
    )
    records, policy, params, final = _play(config, 45)
    assert int(final.window.num_compressions) == 4
    history = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), records.transition)
    segments = cut(history, [10, 10, 10, 10, 5], 10)
    logits = jax.jit(unroll, static_argnums=0)(policy, params, segments).logits
    chex.assert_shape(logits, (6, 5, 10, 5))
    trained = np.asarray(logits).reshape(6, 50, 5)[:, :45]
    np.testing.assert_allclose(np.swapaxes(records.logits, 0, 1), trained, atol=1e-4)


def test_episodes_restart_and_the_history_goes_on(debug_config):
    horizon = debug_config.env.horizon
    records, _, _, final = _play(debug_config, 3 * horizon)
    done = np.asarray(records.transition.done)
    np.testing.assert_array_equal(np.flatnonzero(done[:, 0]), [9, 19, 29])
    np.testing.assert_array_equal(records.transition.obs[horizon], [[2, 2]] * 6)
    assert int(final.step) == 3 * horizon + 1
    assert int(final.window.num_compressions) > 1


def test_greedy_takes_the_likeliest_action(debug_config):
    records, *_ = _play(debug_config, 15, greedy=True)
    np.testing.assert_array_equal(records.transition.action, records.logits.argmax(-1))


def test_sampling_follows_the_policy_with_smoothing_undone(debug_config):
    policy, params = make_model(debug_config)
    smoothing = 0.4  # Large, so that plain probabilities would fail below.
    env, state = _start(debug_config, policy, params, num_seeds=1500)
    _, record = jax.jit(lambda s: rollout_step(policy, params, env, smoothing, s))(state)
    counts = np.bincount(np.asarray(record.transition.action), minlength=5) / 4500
    expected = np.exp(undo_smoothing(record.logits[0], smoothing))
    np.testing.assert_allclose(counts, expected, atol=0.03)
    plain = np.asarray(jax.nn.softmax(record.logits[0]))
    assert np.abs(plain - expected).max() > 0.06


def test_a_rollout_depends_on_its_own_key_only(debug_config):
    policy, params = make_model(debug_config)
    env, state = _start(debug_config, policy, params)
    play = make_rollout(policy, env, smoothing=_SMOOTHING, num_episodes=2)
    other = state._replace(keys=state.keys.at[1:].set(jax.random.split(jax.random.key(9), 5)))
    copy = jax.tree.map(jnp.copy, (state, other))
    a, _, _ = play(params, copy[0])
    b, _, _ = play(params, copy[1])
    np.testing.assert_array_equal(a.tokens.obs[0], b.tokens.obs[0])
    np.testing.assert_allclose(a.window.embeddings[0], b.window.embeddings[0], atol=1e-6)
    assert (np.asarray(a.window.embeddings[1:]) != np.asarray(b.window.embeddings[1:])).any()


@pytest.mark.parametrize("n_latent", [0, 4])
def test_chunks_equal_one_long_rollout(debug_config, n_latent):
    config = override(debug_config, model={"n_latent": n_latent})
    policy, params = make_model(config)
    outcomes = []
    for chunk in (1, 6):
        env, state = _start(config, policy, params)
        play = make_rollout(policy, env, smoothing=_SMOOTHING, num_episodes=chunk)
        returns, compressions = [], []
        for _ in range(6 // chunk):
            state, part, done = play(params, jax.tree.map(jnp.copy, state))
            returns.append(np.asarray(part))
            compressions.append(np.asarray(done))
        outcomes.append((np.concatenate(returns), np.concatenate(compressions)))
    chex.assert_shape(outcomes[0][0], (6, 6))
    chex.assert_trees_all_equal(*outcomes)
    assert outcomes[0][1][-1] == (60 - 12 + 9) // 10  # Windows of 12, 10 compressed at a time.
