import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.backend import sharding
from compad_jax.config.checks import ConfigError
from compad_jax.envs import make_env
from compad_jax.histories.dataset import Dataset
from compad_jax.histories.sampler import make_sampler
from compad_jax.models import init_params, make_policy, unroll
from compad_jax.training.losses import smoothed_cross_entropy
from compad_jax.training.objective import loss_fn
from compad_jax.training.optimizer import make_optimizer, make_schedule
from compad_jax.training.step import make_init, make_train_steps
from tests.builders import cut, make_model, override, random_transitions


@functools.cache
def _compiled(config, num_devices):
    """(mesh, policy, optimizer, train_steps); compiled once for all tests that agree on them."""
    mesh = jax.make_mesh(
        (num_devices,),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.devices()[:num_devices],
    )
    policy = make_policy(config, make_env(config.env).spec)
    optimizer = make_optimizer(config.optimizer, config.train.train_timesteps)
    train_steps = make_train_steps(policy, optimizer, make_sampler(config), config, mesh)
    return mesh, policy, optimizer, train_steps


_KINDS = ("compress", "uncompressed")


def _setup(config, num_devices=1, num_rows=12):
    """(state, dataset, train_steps) of a training on made-up histories."""
    mesh, policy, optimizer, train_steps = _compiled(config, num_devices)
    state = make_init(optimizer, mesh)(init_params(policy, jax.random.key(0)))
    shape = (num_rows, config.source.num_steps)
    transition = random_transitions(jax.random.key(1), policy.spec, shape)
    is_target = jnp.arange(shape[1]) % 4 > 0
    dataset = Dataset(
        transition,
        transition.action,
        jnp.broadcast_to(is_target, shape),
        jnp.zeros(shape),
        jnp.arange(num_rows),
        jnp.array(num_rows),
    )
    return state, jax.device_put(dataset, sharding.replicated(mesh)), train_steps


def test_loss_against_a_hand_computation(debug_config):
    policy, params = make_model(debug_config)
    history = random_transitions(jax.random.key(0), policy.spec, (2, 20))
    segments = cut(history, [7, 9], 12)
    # Every other token is read but is no target.
    is_target = segments.mask & (jnp.arange(12) % 2 == 0)
    segments = segments._replace(is_target=is_target, floor=jnp.where(is_target, 0.25, 99.0))
    loss, metrics = jax.jit(loss_fn, static_argnums=(1, 3))(params, policy, segments, 0.1, None)
    logits = np.asarray(
        jax.jit(unroll, static_argnums=0)(policy, params, segments).logits, np.float64
    )
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses, nlls, hits = [], [], []
    for b, s, position in np.argwhere(np.asarray(is_target)):
        row, action = log_probs[b, s, position], int(segments.action[b, s, position])
        target = np.full(5, 0.1 / 5)
        target[action] += 0.9
        losses.append(-(target * row).sum())
        nlls.append(-row[action])
        hits.append(row.argmax() == action)
    assert len(losses) == 2 * (4 + 5)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics.nll, np.mean(nlls), rtol=1e-5)
    np.testing.assert_allclose(metrics.accuracy, np.mean(hits), rtol=1e-5)
    np.testing.assert_allclose(metrics.floor, 0.25, rtol=1e-6)
    assert metrics.num_tokens == 2 * 16
    np.testing.assert_array_equal(metrics.depth_tokens, [8, 10])
    by_hand = np.average(metrics.depth_nll, weights=metrics.depth_tokens)
    np.testing.assert_allclose(by_hand, metrics.nll, rtol=1e-5)


def test_uninformative_tokens_are_read_but_not_learned(debug_config):
    """They change later predictions; their own action is no target."""
    policy, params = make_model(debug_config)
    segments = cut(random_transitions(jax.random.key(0), policy.spec, (2, 20)), [10, 10], 10)
    segments = segments._replace(is_target=segments.mask.at[:, 0].set(False))
    loss = jax.jit(lambda segments: loss_fn(params, policy, segments, 0.1)[0])
    other_action = segments._replace(action=segments.action.at[:, 0].add(1) % 5)
    assert loss(other_action) == loss(segments)
    reward = segments.tokens.previous.reward.at[:, 0].add(1.0)  # Into the memory.
    previous = segments.tokens.previous._replace(reward=reward)
    other_reward = segments._replace(tokens=segments.tokens._replace(previous=previous))
    assert abs(loss(other_reward) - loss(segments)) > 1e-4


def test_a_batch_without_targets_has_no_loss_and_no_gradient(debug_config):
    policy, params = make_model(debug_config)
    segments = cut(random_transitions(jax.random.key(0), policy.spec, (2, 20)), [10, 10], 10)
    segments = segments._replace(is_target=jnp.zeros_like(segments.mask))
    loss, gradient = jax.jit(jax.value_and_grad(lambda p: loss_fn(p, policy, segments, 0.1)[0]))(
        params
    )
    assert loss == 0
    for leaf in jax.tree.leaves(gradient):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("dropout", "numbers"), [pytest.param(0.0, (2, 8), marks=pytest.mark.exhaustive), (0.3, (8,))]
)
def test_devices_change_no_loss(debug_config, dropout, numbers):
    config = override(debug_config, model={"tf_dropout": dropout, "tf_attn_dropout": dropout})
    config = override(config, train={"log_every": 1})
    outcomes = []
    for num_devices in (1, *numbers):
        state, dataset, train_steps = _setup(config, num_devices)
        _, metrics = train_steps(state, dataset, jax.random.key(2))
        outcomes.append(jax.device_get(metrics))
    for name in ("loss", "nll", "grad_norm", "depth_nll", "num_tokens"):
        for outcome in outcomes[1:]:
            np.testing.assert_allclose(outcome[name], outcomes[0][name], rtol=1e-5)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_every_step_draws_another_batch_and_another_dropout(debug_config, dropout):
    """With dropout all batches are one and the same here: a history of its own length."""
    config = override(
        debug_config,
        model={"tf_dropout": dropout, "tf_attn_dropout": dropout},
        train={"log_every": 1},
    )
    if dropout:
        lengths = {f"{end}_{kind}_length": 10 for end in ("min", "max") for kind in _KINDS}
        config = override(config, data={"whole_history": True} | lengths)
    losses = []
    for step in (0, 1, 2):
        state, dataset, train_steps = _setup(config, num_rows=1 if dropout else 12)
        state = state._replace(step=jnp.asarray(step, jnp.int32))
        losses.append(float(train_steps(state, dataset, jax.random.key(2))[1]["loss"]))
    assert len(set(losses)) == 3


def test_batch_is_split_over_the_devices(debug_config):
    state, dataset, train_steps = _setup(debug_config, 8)
    text = train_steps.lower(state, dataset, jax.random.key(0)).compile().as_text()
    assert "all-reduce" in text


def test_uneven_batch_is_refused():
    with pytest.raises(ConfigError, match=r"train_batch_size=12: must be a multiple of the 8"):
        sharding.check_batch_size(12, sharding.make_mesh())


def test_two_dispatches_equal_one_of_twice_the_steps(debug_config):
    short = override(debug_config, train={"log_every": 5})
    long = override(debug_config, train={"log_every": 10})
    state, dataset, train_steps = _setup(short)
    for _ in range(2):
        state, _ = train_steps(state, dataset, jax.random.key(3))
    state_long, dataset, train_steps = _setup(long)
    state_long, _ = train_steps(state_long, dataset, jax.random.key(3))
    assert int(state.step) == int(state_long.step) == 10
    chex.assert_trees_all_close(state.params, state_long.params, atol=1e-6)


def test_step_depends_on_the_key_and_reports_the_schedule(debug_config):
    losses = []
    for seed in (0, 0, 1):
        state, dataset, train_steps = _setup(debug_config)
        _, metrics = train_steps(state, dataset, jax.random.key(seed))
        losses.append(float(metrics["loss"]))
    assert losses[0] == losses[1] != losses[2]
    schedule = make_schedule(debug_config.optimizer, debug_config.train.train_timesteps)
    steps = np.arange(debug_config.train.log_every)
    np.testing.assert_allclose(metrics["lr"], np.mean([schedule(n) for n in steps]), rtol=1e-5)


def test_state_is_donated(debug_config):
    state, dataset, train_steps = _setup(debug_config)
    before = jax.tree.leaves(state.params)[0]
    train_steps(state, dataset, jax.random.key(0))
    assert before.is_deleted()


def test_gradient_descent_lowers_the_loss_of_a_fixed_batch(debug_config):
    config = dataclasses.replace(debug_config)
    policy, params = make_model(config)
    history = random_transitions(jax.random.key(0), policy.spec, (4, 30))
    segments = cut(history, [10, 10, 10], 12)
    step = jax.jit(jax.value_and_grad(lambda p: loss_fn(p, policy, segments, 0.0, None)[0]))
    first, _ = step(params)
    for _ in range(30):
        loss, gradient = step(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    assert loss < 0.8 * first
    assert smoothed_cross_entropy(jnp.zeros((1, 5)), jnp.zeros(1, jnp.int32), 0.1) > 1.6
