"""Rollouts of a frozen policy, step by step and in one program."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.envs import make_env, protocol
from compad_jax.evaluation.rollout import init_rollout, make_rollout, rollout_step
from compad_jax.models import init_params, make_policy, unroll
from compad_jax.training.losses import undo_smoothing
from tests.builders import cut, make_model, override, tasks_of

_SMOOTHING = 0.1


def _start(config, policy, params, num_seeds=2, greedy=False, seed=0, num_episodes=6):
    env = make_env(config.env)
    tasks = jnp.repeat(tasks_of(env)[jnp.array([0, 7, 24])], num_seeds, axis=0)
    keys = jax.random.split(jax.random.key(seed), len(tasks))
    flags = jnp.full(len(tasks), greedy)
    return env, init_rollout(policy, params, env, tasks, keys, flags, num_episodes=num_episodes)


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
    assert int(final.acting.window.num_compressions) == 4
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
    assert int(final.acting.step) == 3 * horizon + 1
    assert int(final.acting.window.num_compressions) > 1


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
    play = make_rollout(policy, env, smoothing=_SMOOTHING, num_steps=20)
    keys = state.acting.keys.at[1:].set(jax.random.split(jax.random.key(9), 5))
    other = state._replace(acting=state.acting._replace(keys=keys))
    a, b = (play(params, start) for start in jax.tree.map(jnp.copy, (state, other)))
    np.testing.assert_array_equal(a.seen.obs[0], b.seen.obs[0])
    a, b = (np.asarray(x.acting.window.embeddings) for x in (a, b))
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)
    assert (a[1:] != b[1:]).any()


@pytest.mark.parametrize("n_latent", [0, 4])
def test_chunks_equal_one_long_rollout(debug_config, n_latent):
    config = override(debug_config, model={"n_latent": n_latent})
    policy, params = make_model(config)
    outcomes = []
    for num_steps in (15, 60):  # 15: the chunks do not begin where episodes do.
        env, state = _start(config, policy, params)
        play = make_rollout(policy, env, smoothing=_SMOOTHING, num_steps=num_steps)
        for _ in range(60 // num_steps):
            state = play(params, state)
        outcomes.append(state.tally)
    chex.assert_shape(outcomes[0].episodes.returns, (6, 6))
    chex.assert_trees_all_equal(*outcomes)
    np.testing.assert_array_equal(outcomes[0].episodes.lengths, np.full((6, 6), 10))
    # Windows of 12, 10 compressed at a time.
    np.testing.assert_array_equal(outcomes[0].episodes.num_compressions[:, -1], (60 - 12 + 9) // 10)


@dataclasses.dataclass(frozen=True)
class Walk:
    """Cells 0 to 9 in a row: an episode ends at the goal, which pays 1, or after 10 steps."""

    spec = protocol.EnvSpec(2, protocol.Discrete((10,)), 10)
    num_tasks = 9

    def task(self, index):
        return index + 1

    def reset(self, key, task):
        return jnp.zeros((), jnp.int32), jnp.zeros(1, jnp.int32)

    def step(self, key, env_state, action, task):
        cell = jnp.clip(env_state + 2 * action - 1, 0, 9)
        return cell, cell[None], (cell == task).astype(jnp.float32), cell == task


def _add_up(transition):
    """Episodes of one rollout: return, length and last step of each, by hand."""
    episodes, earned, length = [], 0.0, 0
    for step, (reward, done) in enumerate(zip(transition.reward, transition.done, strict=True)):
        earned, length = earned + reward, length + 1
        if done:
            episodes.append((earned, length, step))
            earned, length = 0.0, 0
    return episodes


def test_episodes_are_counted_whatever_their_length(debug_config):
    env, num_episodes = Walk(), 4
    policy = make_policy(debug_config, env.spec)
    params = init_params(policy, jax.random.key(0))
    tasks = protocol.make_tasks(env, np.array([0, 1, 2, 8]))
    keys, greedy = jax.random.split(jax.random.key(3), 4), jnp.zeros(4, bool)
    state = init_rollout(policy, params, env, tasks, keys, greedy, num_episodes=num_episodes)

    def step(state, _):
        state, record = rollout_step(policy, params, env, _SMOOTHING, state)
        return state, (record.transition, state.acting.window.num_compressions)

    final, (steps, compressions) = jax.jit(lambda s: jax.lax.scan(step, s, length=40))(state)
    for i in range(4):
        episodes = _add_up(jax.tree.map(lambda x, i=i: np.asarray(x)[:, i], steps))
        assert len(episodes) >= num_episodes
        returns, lengths, last = zip(*episodes[:num_episodes], strict=True)
        np.testing.assert_array_equal(final.tally.episodes.returns[i], returns)
        np.testing.assert_array_equal(final.tally.episodes.lengths[i], lengths)
        np.testing.assert_array_equal(
            final.tally.episodes.num_compressions[i], np.asarray(compressions)[list(last)]
        )
        assert int(final.tally.episode[i]) == len(episodes)
    assert final.tally.episodes.returns.max() == 1
    assert len(np.unique(final.tally.episodes.lengths)) > 2


def test_memory_does_not_grow_with_the_number_of_steps(debug_config):
    policy, params = make_model(debug_config)
    sizes = []
    for num_steps in (10, 1_000_000):
        env, state = _start(debug_config, policy, params)
        play = make_rollout(policy, env, smoothing=_SMOOTHING, num_steps=num_steps)
        sizes.append(play.lower(params, state).compile().memory_analysis().temp_size_in_bytes)
    assert sizes[1] <= 1.1 * sizes[0]
