"""Small runs with checkpoints, and what is restored from them."""

import os

import chex
import jax.numpy as jnp
import numpy as np
import optax

from compad_jax.training.checkpoints import Checkpoints


def state(step):
    """(params, rest) of a step, as training has them; small, and different at each step."""
    kernel = jnp.asarray(np.random.default_rng(step).normal(size=(40, 30)), jnp.float32)
    params = {"dense": {"kernel": kernel, "bias": jnp.full(3, step, jnp.bfloat16)}}
    opt_state = optax.adam(1e-3).init(params)
    return params, {"step": jnp.asarray(step, jnp.int32), "opt_state": opt_state}


def save(workdir, scores, first=1):
    """Saves steps `first`, `first` + 1, ... with these scores."""
    with Checkpoints(workdir) as checkpoints:
        for step, score in enumerate(scores, start=first):
            checkpoints.save(step, *state(step), score)


def save_three_steps(folder):
    """A run with steps 1, 2 and 3, of which the first is the best."""
    path = str(folder / "run")
    save(path, [0.6, 0.5, 0.1])
    return path


def kept(workdir):
    """The steps that are there."""
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.steps


def latest(workdir):
    """(step, params, rest) of the latest step, or None."""
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.restore_latest(*state(0))


def restored_step(workdir, which):
    """The step whose parameters are restored alone, once they are those of that step."""
    with Checkpoints(workdir) as checkpoints:
        step, params = checkpoints.restore_params(state(0)[0], which)
    chex.assert_trees_all_equal(params, state(step)[0])
    return step


def step_directory(workdir, step):
    return os.path.join(workdir, "checkpoints", str(step))
