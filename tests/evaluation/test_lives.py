"""Recorded lives against the rollouts of evaluations, and gates against what they did."""

import jax
import numpy as np
import pytest

from compad_jax.envs import make_env
from compad_jax.evaluation.lives import record_lives
from compad_jax.evaluation.rollout import init_rollout, make_rollout
from compad_jax.models.policy import apply_method
from tests.builders import make_model, override, tasks_of

_ROOM = {"reward": "first_visit", "grid_size": 3, "horizon": 15, "wait": 30}


def _record(debug_config, memory_update, num_steps=55):
    config = override(debug_config, env=_ROOM, model={"memory_update": memory_update})
    policy, params = make_model(config)
    env = make_env(config.env)
    tasks, greedy = np.asarray(tasks_of(env)), np.arange(9) % 2 == 0
    lives = record_lives(policy, params, env, tasks, greedy, num_steps=num_steps, smoothing=0.1)
    return lives, (policy, params, env, tasks, greedy)


def test_lives_are_those_of_a_rollout(debug_config):
    lives, (policy, params, env, tasks, greedy) = _record(debug_config, "slot_gate")
    assert lives.transition.reward.shape == lives.waits.shape == (60, 9)  # To the end of a segment.
    # A window of 12 of which 10 are compressed: full for the first time after 12 steps.
    steps = np.arange(60)
    np.testing.assert_array_equal(lives.version, np.where(steps < 12, 0, (steps - 2) // 10))
    np.testing.assert_array_equal(
        lives.length, np.where(steps < 12, steps, (steps - 2) % 10 + 2) + 1
    )
    assert lives.latents.shape == (6, 9, 4, 16) and lives.gates.shape == (5, 9, 4)
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), 9)
    state = init_rollout(policy, params, env, tasks, keys, greedy, num_episodes=1)
    for version in range(5):
        state = make_rollout(policy, env, smoothing=0.1, num_steps=10)(params, state)
        shown = apply_method(policy, params, "read", state.acting.window.memory)
        np.testing.assert_allclose(lives.latents[version], shown, atol=1e-5)
    first_pay = np.where(lives.transition.reward.any(0), lives.transition.reward.argmax(0) + 1, 0)
    ended = np.asarray(state.tally.episodes.lengths)[:, 0]
    known = (first_pay > 0) & (first_pay <= np.minimum(ended, 15))
    assert known.any()
    np.testing.assert_array_equal(
        first_pay[known], np.asarray(state.tally.episodes.wait.steps_to_reward)[known, 0]
    )
    # A wait follows the pay and lasts as long as it should.
    np.testing.assert_array_equal(lives.waits[:, known].argmax(0), first_pay[known])


@pytest.mark.parametrize("rule", ["slot_gate", "gru", "cache", "none"])
def test_gates_say_what_a_rule_did(debug_config, rule):
    lives, (_, params, *_) = _record(debug_config, rule)
    if rule in ("cache", "none"):
        assert lives.gates is None
        assert lives.changes.shape == (5, 9, 0 if rule == "none" else 4)
        return
    assert lives.gates.shape == (5, 9, 4) and (lives.gates >= 0).all() and (lives.gates <= 1).all()
    if rule == "slot_gate":
        # m' = m + g (c - m), and every candidate c comes from a layer normalisation.
        norm = jax.device_get(params["memory"]["compressor"]["norm"])
        is_open = lives.gates > 0.05
        assert is_open.any()
        moved = np.diff(lives.latents, axis=0)[is_open] / lives.gates[is_open][:, None]
        plain = (lives.latents[:-1][is_open] + moved - norm["bias"]) / norm["scale"]
        np.testing.assert_allclose(plain.mean(-1), 0, atol=1e-3)
        np.testing.assert_allclose(plain.std(-1), 1, atol=1e-2)


def test_changes_by_hand(debug_config):
    lives, _ = _record(debug_config, "none", 12)
    memory = np.zeros((3, 1, 2, 2))
    memory[:, 0, 0] = [[3, 4], [3, 4], [6, 8]]
    memory[:, 0, 1] = [[0, 2], [0, 1], [0, 1]]
    np.testing.assert_allclose(lives._replace(latents=memory).changes[:, 0], [[0, 0.5], [1, 0]])
    part = lives.of(slice(2, 5))
    np.testing.assert_array_equal(part.transition.action, lives.transition.action[:, 2:5])
    assert part.latents.shape[1] == part.waits.shape[1] == 3
