"""A sum over a scan whose gradient is found on the way, while each term is still in the cache."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

# (params, item, constant) -> (float [], anything else): one term of the sum.
Term = Callable[[Any, Any, Any], tuple[jax.Array, Any]]
# (params, item, constant, carry) -> (float [], (anything else, carry for the next term)).
TermWithCarry = Callable[[Any, Any, Any, Any], tuple[jax.Array, tuple[Any, Any]]]


def scan_sum(
    term: Term | Sequence[Term],
    params: Any,
    items: Any,
    constants: Any,
    which: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Sums a function over items [N, ...], one after another.

    The gradient of an ordinary scan takes two passes: one that writes what each term needs to
    be differentiated, one that reads it back. Here, where a gradient is asked for, each term is
    differentiated as soon as it is computed. There is no second derivative and no forward mode.

    Inside a `shard_map`, params and items must vary over the same mesh axes (`jax.lax.pcast`).

    Args:
        term: a pure function; what is to be differentiated must be an argument of it. Or several
            of them, all with results of the same shapes.
        params: given to every term; differentiated.
        items: one for each term, leading axis [N, ...]; differentiated.
        constants: more of each item, [N, ...]; not differentiated.
        which: which of several terms each item is for, int [N].

    Returns:
        The sum, float [], and all else that the terms returned, [N, ...], through which no
        gradient flows.
    """
    terms = (term,) if callable(term) else tuple(term)
    assert len(terms) == 1 or which is not None
    total, others = _scan_sum(
        tuple(map(_without_carry, terms)), params, items, (constants, which), None
    )
    return total, jax.lax.stop_gradient(others)


def _without_carry(term: Term) -> TermWithCarry:
    def with_carry(
        params: Any, item: Any, constant: Any, carry: None
    ) -> tuple[jax.Array, tuple[Any, None]]:
        value, others = term(params, item, constant)
        return value, (others, carry)

    return with_carry


def scan_sum_with_carry(
    term: TermWithCarry, params: Any, items: Any, constants: Any, carry: Any
) -> tuple[jax.Array, Any]:
    """As `scan_sum`, with something that each term hands on to the next.

    No gradient flows through what is handed on, nor into the first `carry`: each term is
    differentiated alone. So a gradient takes as much memory for many terms as for one.
    """
    total, others = _scan_sum((term,), params, items, (constants, None), carry)
    return total, jax.lax.stop_gradient(others)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan_sum(
    terms: tuple[TermWithCarry, ...], params: Any, items: Any, constants: Any, carry: Any
) -> tuple[jax.Array, Any]:
    """`constants` are those of the items, and which term each is for."""

    def step(carry: Any, x: tuple[Any, Any]) -> tuple[Any, Any]:
        item, (constant, which) = x
        value, (others, carry) = _call(terms, which, params, item, constant, carry)
        return carry, (value, others)

    _, (values, others) = jax.lax.scan(step, carry, (items, constants))
    return values.sum(), others


def _call(functions: Sequence[Callable[..., Any]], which: jax.Array | None, *args: Any) -> Any:
    """Calls one of several functions."""
    return functions[0](*args) if which is None else jax.lax.switch(which, functions, *args)


def _forward(
    terms: tuple[TermWithCarry, ...], params: Any, items: Any, constants: Any, carry: Any
) -> tuple[Any, Any]:
    """The sum, and its gradient, which is all that the backward pass needs."""
    # A choice between gradients, not the gradient of a choice, which would keep what each of the
    # terms needs to be differentiated.
    differentiate = [jax.value_and_grad(term, argnums=(0, 1), has_aux=True) for term in terms]

    def step(so_far: Any, x: Any) -> tuple[Any, Any]:
        (total, carry), (item, (constant, which)) = so_far, x
        result = _call(differentiate, which, params, item, constant, carry)
        (value, (others, carry)), (of_params, of_item) = result
        return (jax.tree.map(jnp.add, total, of_params), carry), (value, others, of_item)

    start = jax.tree.map(jnp.zeros_like, params), carry
    (of_params, _), (values, others, of_items) = jax.lax.scan(step, start, (items, constants))
    return (values.sum(), others), (of_params, of_items)


def _backward(
    terms: tuple[TermWithCarry, ...], gradients: Any, cotangents: Any
) -> tuple[Any, Any, None, None]:
    """Scales the gradient; of params, items, constants and carry."""
    del terms
    of_sum, _ = cotangents
    return (*jax.tree.map(lambda x: x * of_sum.astype(x.dtype), gradients), None, None)


_scan_sum.defvjp(_forward, _backward)
