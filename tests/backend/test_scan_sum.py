import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.backend import sharding
from compad_jax.backend.scan_sum import scan_sum, scan_sum_with_carry

_PARAMS = {"used": jnp.array([0.5, -1.0]), "unused": jnp.ones(3)}
_ITEMS = jnp.linspace(-1.0, 1.0, 8).reshape(4, 2)
_LABELS = jnp.array([2, 0, 1, 1])


def _term(params, item, label):
    hidden = jnp.tanh(params["used"] * item)
    return (hidden * label).sum(), {"hidden": hidden, "label": label}


def _plainly(params, items, labels):
    terms = [_term(params, *x) for x in zip(items, labels, strict=True)]
    values, others = zip(*terms, strict=True)
    return sum(values), jax.tree.map(lambda *x: jnp.stack(x), *others)


def _outcome(add_up):
    """Values, others and gradients, where the sum is used in a larger computation."""

    def use(params, items):
        total, others = add_up(params, items, _LABELS)
        return jnp.sin(total) + params["used"].sum(), others

    return jax.jit(jax.value_and_grad(use, argnums=(0, 1), has_aux=True))(_PARAMS, _ITEMS)


def test_equals_a_plain_sum_and_its_gradient():
    found = _outcome(lambda *args: scan_sum(_term, *args))
    chex.assert_trees_all_close(found, _outcome(_plainly), rtol=1e-5)
    np.testing.assert_array_equal(found[1][0]["unused"], 0)


def test_each_item_has_its_own_of_several_terms():
    def other(params, item, label):
        value, others = _term(params, item * item, label)
        return 2 * value, others

    terms, which = (_term, other), [1, 0, 0, 1]

    def plainly(params, items, labels):
        results = zip(which, items, labels, strict=True)
        values, others = zip(*(terms[n](params, *x) for n, *x in results), strict=True)
        return sum(values), jax.tree.map(lambda *x: jnp.stack(x), *others)

    found = _outcome(lambda *args: scan_sum(terms, *args, which=jnp.array(which)))
    chex.assert_trees_all_close(found, _outcome(plainly), rtol=1e-5)


def test_without_a_gradient_it_only_sums():
    text = str(jax.make_jaxpr(lambda p: scan_sum(_term, p, _ITEMS, _LABELS))(_PARAMS))
    total, others = scan_sum(_term, _PARAMS, _ITEMS, _LABELS)
    chex.assert_trees_all_close((total, others), _plainly(_PARAMS, _ITEMS, _LABELS), rtol=1e-6)
    chex.assert_shape(others["hidden"], (4, 2))
    assert text.count("tanh") == 1


def test_each_term_is_computed_once_for_its_gradient():
    def total(params):
        return scan_sum(_term, params, _ITEMS, _LABELS)[0]

    text = str(jax.make_jaxpr(jax.grad(total))(_PARAMS))
    assert text.count("= tanh") == 1
    assert text.count("scan[") == 1  # One pass.


def test_no_gradient_flows_through_the_rest():
    def rest(params):
        _, others = scan_sum(_term, params, _ITEMS, _LABELS)
        return others["hidden"].sum()

    chex.assert_trees_all_equal(jax.grad(rest)(_PARAMS), jax.tree.map(jnp.zeros_like, _PARAMS))


@pytest.mark.parametrize("num_items", [0, 1])
def test_few_items(num_items):
    def total(params):
        return scan_sum(_term, params, _ITEMS[:num_items], _LABELS[:num_items])[0]

    value, gradient = jax.value_and_grad(total)(_PARAMS)
    expected = _plainly(_PARAMS, _ITEMS[:1], _LABELS[:1])[0] if num_items else 0
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert (np.abs(gradient["used"]).max() > 0) == bool(num_items)


def test_works_on_the_share_of_a_device():
    split, everywhere = jax.P("data"), jax.P()
    items, labels = (jnp.concatenate([x, x]) for x in (_ITEMS, _LABELS))  # One for each device.

    def share(params, items, labels):
        params = jax.lax.pcast(params, "data", to="varying")
        gradient = jax.grad(lambda p: scan_sum(_term, p, items, labels)[0])(params)
        return jax.lax.psum(gradient, "data")

    sharded = jax.shard_map(
        share,
        mesh=sharding.make_mesh(),
        in_specs=(everywhere, split, split),
        out_specs=everywhere,
    )
    expected = jax.grad(lambda p: _plainly(p, items, labels)[0])(_PARAMS)
    chex.assert_trees_all_close(jax.jit(sharded)(_PARAMS, items, labels), expected, rtol=1e-5)


def test_a_carry_is_handed_on_and_not_differentiated():
    def term(params, item, label, carry):
        value, others = _term(params, item, label)
        return carry * value, (others, carry + value)

    def plainly(params, carry):
        total = 0.0
        for item, label in zip(_ITEMS, _LABELS, strict=True):
            value, _ = _term(params, item, label)
            total += jax.lax.stop_gradient(carry) * value
            carry += value
        return total

    def scanned(params, carry):
        return scan_sum_with_carry(term, params, _ITEMS, _LABELS, carry)[0]

    found, expected = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(_PARAMS, jnp.array(0.5))
        for f in (scanned, plainly)
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-5)
    assert found[1][1] == 0
