"""What is measured of a policy, against its training loss and hand-computed values."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.diagnose.data import Draws
from compad_jax.diagnose.policy import describe_policy, gradient_norms, token_losses
from compad_jax.training.objective import loss_fn
from tests.builders import cut, make_model, random_transitions


def _batch(policy, rows=4):
    """Windows of three segments of 8, 10 and 12 tokens, the first segment not full."""
    transition = random_transitions(jax.random.key(1), policy.spec, (rows, 30))
    return cut(transition, [8, 10, 12], 12)


@pytest.fixture(scope="module")
def model(debug_config):
    return make_model(debug_config)


def test_losses_with_the_memory_replaced(model):
    policy, params = model
    segments = _batch(policy)
    same = jax.tree.map(lambda x: jnp.repeat(x[:1], 4, axis=0), segments)
    losses, repeated = (
        jax.device_get(jax.jit(lambda x: token_losses(policy, params, x, smoothing=0.1))(x))
        for x in (segments, same)
    )
    expected, metrics = loss_fn(params, policy, segments, 0.1)
    mask = np.asarray(segments.mask)
    assert losses["loss"][mask].mean() == pytest.approx(float(expected), rel=1e-4)
    assert losses["correct"][mask].mean() == pytest.approx(float(metrics.accuracy))
    deep = mask.copy()
    deep[:, 0] = False
    for name in ("zeroed", "swapped"):
        assert np.abs(losses[name] - losses["loss"])[deep].mean() > 0.01, name
    first = mask & ~deep  # Before any compression all memories are equal.
    np.testing.assert_allclose(losses["swapped"][first], losses["loss"][first], atol=1e-4)
    # Equal windows have equal memories: nothing changes unless they are zeroed.
    np.testing.assert_allclose(repeated["swapped"][mask], repeated["loss"][mask], atol=1e-4)
    assert np.abs(repeated["zeroed"] - repeated["loss"])[deep].mean() > 0.01


def _fake_draws(segments, task):
    """One batch of windows of given tasks."""
    values = jnp.broadcast_to(jnp.array(task, float)[:, None, None], segments.mask.shape)
    return jax.tree.map(lambda x: jnp.asarray(x)[None], Draws(segments, {"task": values}))


def test_groups_of_losses_and_the_memory_of_other_tasks(model):
    policy, _ = model
    segments = _batch(policy)
    _, depth, position = np.indices(segments.mask.shape)
    losses = {"loss": depth + position / 100, "correct": depth == 0}
    window = np.arange(4)[:, None, None]
    losses |= {"zeroed": losses["loss"] + 2, "swapped": losses["loss"] + window}
    draws = _fake_draws(segments, [5, 5, 6, 6])
    facts = describe_policy(lambda *_: losses, None, draws, has_memory=True)
    assert facts["num_targets"] == 4 * 30
    assert facts["accuracy"] == pytest.approx(8 / 30)
    np.testing.assert_allclose(facts["by_depth"]["loss"], [0.035, 1.045, 2.055], atol=1e-5)
    in_all, in_two = 1 + np.arange(8) / 100, 1.5 + np.arange(8, 10) / 100
    expected = [*in_all, *in_two, 2.10, 2.11]
    np.testing.assert_allclose(facts["by_position"]["loss"], expected, atol=1e-5)
    assert facts["by_depth"]["floor"] == [0, 0, 0]
    memory = facts["memory"]  # Windows 0 and 2 stand behind one of another task.
    assert memory["num_targets"] == 2 * 22
    assert memory["zeroed"] - memory["as_is"] == pytest.approx(2)
    assert memory["of_another_task"] - memory["as_is"] == pytest.approx(1)  # (0 + 2) / 2.
    one_task = describe_policy(
        lambda *_: losses, None, _fake_draws(segments, [5] * 4), has_memory=True
    )
    assert one_task["memory"] is None
    alone = describe_policy(lambda *_: losses, None, draws, has_memory=False)
    assert alone["memory"] is None
    assert len(alone["by_depth"]["loss"]) == 1


def test_gradient_norms_add_up(model):
    policy, params = model
    segments = _batch(policy)
    norms = gradient_norms(policy, params, segments, 0.1)
    gradient = jax.jit(jax.grad(lambda p: loss_fn(p, policy, segments, 0.1)[0]))(params)
    norm_of = {name: _norm(part) for name, part in jax.device_get(gradient).items()}
    assert set(norms) == {"embedding", "decoder", "memory"}
    assert math.hypot(*norms.values()) == pytest.approx(math.hypot(*norm_of.values()), rel=1e-4)
    assert norms["embedding"] == pytest.approx(norm_of["embedding"], rel=1e-4)
    assert norms["memory"] == pytest.approx(norm_of["memory"], rel=1e-4)


def _norm(tree):
    return math.sqrt(sum((np.asarray(x, float) ** 2).sum() for x in jax.tree.leaves(tree)))
