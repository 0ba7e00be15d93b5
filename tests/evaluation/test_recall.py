"""Waits in rollouts: sat out as if acted, counted, and judged against what is best."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from compad_jax.backend.sharding import split_leading
from compad_jax.envs import make_env, protocol
from compad_jax.evaluation.recall import Recall, Reference, make_reference, summarise_recall
from compad_jax.evaluation.rollout import init_rollout, make_rollout, rollout_step, sit_out
from compad_jax.evaluation.tally import with_current
from tests.builders import make_model, override

_SMOOTHING = 0.1
_ROOM = {"reward": "first_visit", "grid_size": 3, "horizon": 15, "wait": 150}
_BANDIT = {"name": "delayed_bandit", "num_tasks": 50, "wait": 60}
_BANDIT["delayed_bandit"] = {"num_arms": 4, "num_pulls": 12}


def _start(config, num_episodes=4, greedy=(False,) * 6):
    env = make_env(config.env)
    policy, params = make_model(config)
    tasks = protocol.make_tasks(env, np.arange(6))
    keys = jax.random.split(jax.random.key(1), 6)
    greedy = jnp.asarray(greedy)
    state = init_rollout(policy, params, env, tasks, keys, greedy, num_episodes=num_episodes)
    return env, policy, params, state


@pytest.mark.parametrize(
    ("env", "changes"),
    [
        (_ROOM, {"model": {"memory_update": "slot_gate"}}),
        (_ROOM | {"wait": -1, "max_wait": 100_000}, {}),
        (_ROOM, {"model": {"n_latent": 0}}),
        (_BANDIT, {"data": {"max_uncompressed_length": 10}}),
    ],
)
def test_sitting_out_a_wait_equals_acting_through_it(debug_config, env, changes):
    """The window holds 12 tokens, or 10, and 10 are compressed at a time."""
    config = override(debug_config, env=env, **changes)
    env, policy, params, start = _start(config)
    num_steps = 400
    copy = jax.tree.map(jnp.copy, start)
    played = make_rollout(policy, env, smoothing=_SMOOTHING, num_steps=num_steps)(params, copy)

    @jax.jit
    def act_through(state):
        def step(state, _):
            is_full = state.acting.window.length == policy.window
            _, waits = sit_out(policy, params, env, state)
            after, _ = rollout_step(policy, params, env, _SMOOTHING, state)
            return after, is_full & waits

        return jax.lax.scan(step, state, length=num_steps)

    acted, could_wait = act_through(start)
    assert could_wait.sum() > 3  # Or nothing would have been compared.
    assert int(played.acting.step) == int(acted.acting.step) == num_steps + 1
    acted = acted._replace(tally=with_current(acted.tally))
    played, acted = jax.device_get((played, acted))
    counts = acted.tally.episode < 4
    counted, expected = (
        jax.tree.map(lambda x: x[counts], (s.seen, s.episode, s.acting.window.memory))
        for s in (played, acted)
    )
    chex.assert_trees_all_equal(counted[:2], expected[:2])
    chex.assert_trees_all_close(counted[2], expected[2], atol=1e-4)
    # How far the others got meanwhile is not counted.
    counted, expected = (
        (tally.episodes, tally.episode.clip(max=4)) for tally in (played.tally, acted.tally)
    )
    chex.assert_trees_all_close(counted, expected, atol=1e-4)


def test_a_device_sits_out_waits_while_another_one_acts(debug_config):
    env, policy, params, start = _start(override(debug_config, env=_ROOM))
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    shardings = split_leading(start, 6, mesh)
    outcomes = []
    for where in (None, shardings):
        play = make_rollout(policy, env, smoothing=_SMOOTHING, num_steps=300, shardings=where)
        state = jax.tree.map(jnp.copy, start)
        outcomes.append(play(params, jax.device_put(state, where) if where else state))
    together, apart = outcomes
    episodes = (jax.device_get(x.tally.episodes) for x in outcomes)
    chex.assert_trees_all_close(*episodes, atol=1e-5)
    everywhere = apart.acting.step, apart.acting.window.length, apart.acting.window.num_compressions
    for number in everywhere:
        assert len({int(shard.data) for shard in number.addressable_shards}) == 1
    assert int(apart.acting.step) == int(together.acting.step) == 301
    waits = jax.vmap(env.is_finished)(apart.episode.env_state).reshape(2, 3).all(1)
    assert waits.tolist() == [False, True]  # So it was for the last twenty steps and more.


def test_finished_rollouts_keep_nobody_from_sitting_out_a_wait(debug_config):
    config = override(debug_config, env=_ROOM | {"wait": 10_000})
    env, policy, params, state = _start(config)
    state = make_rollout(policy, env, smoothing=_SMOOTHING, num_steps=12)(params, state)
    waits = jax.vmap(env.is_finished)(state.episode.env_state)
    assert 0 < waits.sum() < 6
    assert state.acting.window.length == policy.window
    for episode, is_valid in ((3, False), (4, True)):
        tally = state.tally._replace(episode=jnp.where(waits, 0, episode))
        assert sit_out(policy, params, env, state._replace(tally=tally))[1] == is_valid


def test_the_tally_of_waits_by_hand(debug_config):
    """Against the records of every step."""
    config = override(debug_config, env=_ROOM | {"wait": 6})
    env, policy, params, state = _start(config, greedy=[True, False] * 3)

    def step(state, _):
        recalls = protocol.recalls(env, state.episode)
        after, record = rollout_step(policy, params, env, 0.0, state)
        return after, (record, recalls, state.acting.greedy)

    final, (record, recalls, greedy) = jax.jit(lambda s: jax.lax.scan(step, s, length=120))(state)
    reward, done = np.asarray(record.transition.reward), np.asarray(record.transition.done)
    probabilities = np.asarray(jax.nn.softmax(record.logits))
    tally, checked = jax.device_get(final.tally.episodes.wait), 0
    for b in range(6):
        ends = np.flatnonzero(done[:, b])[:4] + 1
        for e, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
            paid = np.flatnonzero(reward[begin:end, b])
            assert tally.steps_to_reward[b, e] == (paid[0] + 1 if len(paid) else 0)
            assert tally.returns[b, e] == len(paid)
            assert recalls[begin, b]
            expected = probabilities[begin, b]
            if greedy[0, b]:
                expected = np.eye(5)[expected.argmax()]
            np.testing.assert_allclose(tally.decision[b, e], expected, atol=1e-5)
            checked += len(paid)
    assert checked > 6


def test_a_bandit_is_judged_from_the_end_of_its_wait_on(debug_config):
    env = _BANDIT | {"wait": 5}
    config = override(debug_config, env=env)
    env, policy, params, state = _start(config, num_episodes=2)

    def step(state, _):
        after, record = rollout_step(policy, params, env, 0.0, state)
        return after, record

    final, record = jax.jit(lambda s: jax.lax.scan(step, s, length=2 * 29))(state)
    tally = jax.device_get(final.tally.episodes.wait)
    reward = np.asarray(record.transition.reward).reshape(2, 29, 6)
    np.testing.assert_allclose(tally.returns, reward[:, 17:].sum(1).T, atol=1e-5)
    first = np.asarray(jax.nn.softmax(record.logits)).reshape(2, 29, 6, 4)[:, 17]
    sampled = np.arange(6) % 2 == 1
    np.testing.assert_allclose(
        tally.decision[sampled], np.swapaxes(first, 0, 1)[sampled], atol=1e-5
    )
    reference = make_reference(env, jax.device_get(state.tasks))
    assert reference.first_episode == 0
    np.testing.assert_allclose(reference.optimum, 12 * np.asarray(state.tasks).max(-1), rtol=1e-6)


def test_summary_by_hand():
    """Three episodes, one task, two seeds: 4 + 2 steps are direct; the first is not asked."""
    steps = np.array([[9, 4], [6, 7], [4, 0]])[:, None]
    decision = np.array([[[1.0, 0.0]] * 2, [[0.5, 0.5], [0.9, 0.1]], [[1.0, 0.0], [0.0, 1.0]]])
    recall = Recall(steps, np.array([[1, 1], [1, 1], [1, 0]])[:, None], decision[:, None])
    reference = Reference(np.array([4.0]), np.array([[1.0, 0.0]]), np.array([1.0]), 1)
    summary = summarise_recall(recall, reference)
    assert summary["direct_fraction"] == 0.5  # 6 and 4 of 6, 7, 4 and never.
    assert summary["decision_regret"] == pytest.approx((0.5 + 0.1 + 0 + 1) / 4)
    assert summary["recall_regret"] == 0.25
    low, high = summary["direct_fraction_ci95"]
    assert (low, high) == (0, 1)  # One seed was always direct, the other never.


def test_nothing_is_said_of_what_is_not_known():
    nothing = Reference(None, None, None, 1)
    recall = Recall(np.ones((3, 1, 2), int), np.ones((3, 1, 2)), np.ones((3, 1, 2, 4)) / 4)
    assert set(summarise_recall(recall, nothing).values()) == {None}
    assert set(summarise_recall(None, nothing).values()) == {None}
    known = Reference(np.array([4.0]), np.ones((1, 4)), np.ones(1), 1)
    first = Recall(*(x[:1] for x in recall))
    assert set(summarise_recall(first, known).values()) == {None}  # No wait before it.


def test_a_rooms_first_episode_has_no_wait_behind_it(debug_config):
    for env, first in ((_ROOM, 1), (_BANDIT, 0)):
        env, _, _, state = _start(override(debug_config, env=env))
        assert make_reference(env, jax.device_get(state.tasks)).first_episode == first
