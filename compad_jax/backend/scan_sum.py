"""A sum over a scan whose gradient is found on the way, while each term is still in the cache."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

# (params, item, constant) -> (float [], anything else): one term of the sum.
Term = Callable[[Any, Any, Any], tuple[jax.Array, Any]]


def scan_sum(term: Term, params: Any, items: Any, constants: Any) -> tuple[jax.Array, Any]:
    """Sums a function over items, one after another.

    The gradient of an ordinary scan takes two passes: one that writes what each term needs to
    be differentiated, one that reads it back. Here, where a gradient is asked for, each term is
    differentiated as soon as it is computed. There is no second derivative and no forward mode.

    Inside a `shard_map`, params and items must vary over the same mesh axes (`jax.lax.pcast`).

    Args:
        term: a pure function; what is to be differentiated must be an argument of it.
        params: given to every term; differentiated.
        items: one for each term, leading axis [N, ...]; differentiated.
        constants: more of each item, [N, ...]; not differentiated.

    Returns:
        The sum, float [], and all else that the terms returned, [N, ...], through which no
        gradient flows.
    """
    total, others = _scan_sum(term, params, items, constants)
    return total, jax.lax.stop_gradient(others)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan_sum(term: Term, params: Any, items: Any, constants: Any) -> tuple[jax.Array, Any]:
    values, others = jax.lax.map(lambda x: term(params, *x), (items, constants))
    return values.sum(), others


def _forward(term: Term, params: Any, items: Any, constants: Any) -> tuple[Any, Any]:
    """The sum, and its gradient, which is all that the backward pass needs."""
    differentiate = jax.value_and_grad(term, argnums=(0, 1), has_aux=True)

    def step(so_far: Any, x: Any) -> tuple[Any, Any]:
        (value, others), (of_params, of_item) = differentiate(params, *x)
        return jax.tree.map(jnp.add, so_far, of_params), (value, others, of_item)

    nothing = jax.tree.map(jnp.zeros_like, params)
    of_params, (values, others, of_items) = jax.lax.scan(step, nothing, (items, constants))
    return (values.sum(), others), (of_params, of_items)


def _backward(term: Term, gradients: Any, cotangents: Any) -> tuple[Any, Any, None]:
    """Scales the gradient; of params, items and constants."""
    del term
    of_sum, _ = cotangents
    return (*jax.tree.map(lambda x: x * of_sum.astype(x.dtype), gradients), None)


_scan_sum.defvjp(_forward, _backward)
