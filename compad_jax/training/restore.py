"""Trained parameters: for acting, and as the start of another training."""

import os
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import serialization

from compad_jax.backend import sharding
from compad_jax.config import Config, TrainConfig, load_json
from compad_jax.config.checks import ConfigError
from compad_jax.config.shipped import is_shipped, trained_directory
from compad_jax.envs import make_env
from compad_jax.envs.protocol import EnvSpec
from compad_jax.models import Params, Policy, make_policy, param_shapes
from compad_jax.training.checkpoints import SavedSteps, has_checkpoint

MakePolicy = Callable[[Config, EnvSpec], Policy]


def restore_policy(
    config: Config, workdir: str, which: str = "latest", make_policy: MakePolicy = make_policy
) -> tuple[Policy, int, Params]:
    """Restores what was trained in a run directory by its settings.

    Args:
        config: the settings of that run.
        workdir: the run directory.
        which: checkpoint, latest or best (on validation).
        make_policy: an experiment may build another policy with the same parameters.

    Returns:
        The policy, the step of the checkpoint, and the parameters, whole on every device.

    Raises:
        ConfigError: no usable checkpoint is there.
    """
    policy = make_policy(config, make_env(config.env).spec)
    with SavedSteps(workdir) as saved:
        step, params = saved.restore_params(placed_shapes(policy), which)
    return policy, step, params


def restore_trained(checkpoint: str, which: str = "") -> tuple[Policy, int, Params, Config]:
    """Restores a shipped agent by its name, or what was trained in a run directory.

    Args:
        checkpoint: the name or the directory.
        which: of a run directory: latest or best; empty: as its settings say.

    Returns:
        The policy, the step, the parameters and the settings of the training.

    Raises:
        ConfigError: there is neither, or a run without a usable checkpoint.
    """
    folder = trained_directory(checkpoint)
    config = load_json(str(folder / "config.json"))
    if not is_shipped(folder):
        return *restore_policy(config, str(folder), which or config.eval.checkpoint), config
    policy = make_policy(config, make_env(config.env).spec)
    like = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), param_shapes(policy))
    params = serialization.from_bytes(like, (folder / "params.msgpack").read_bytes())
    params = jax.device_put(params, sharding.replicated(sharding.make_mesh()))
    return policy, config.train.train_timesteps, params, config


def placed_shapes(policy: Policy) -> Params:
    """Shapes and types of the parameters as they should be restored: whole on every device."""
    everywhere = sharding.replicated(sharding.make_mesh())
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), param_shapes(policy)
    )


def warm_start(params: Params, config: TrainConfig) -> Params:
    """Takes over what a trained run, `init_from`, has in common with new parameters.

    A policy with memory that starts from one without takes its embedding, decoder and
    head; the memory rule keeps its new values. Of a longer window the first positions are
    taken.

    Raises:
        ConfigError: there is no such run, or a shared part has another shape.
    """
    run, old = config.init_from, _settings_of(config.init_from)
    _, _, trained = restore_policy(old, run, config.init_checkpoint or old.eval.checkpoint)
    shared = _shared(params, trained)
    _check_shapes(params, shared, run)
    return {**params, **shared}


def check_warm_start(policy: Policy, config: TrainConfig) -> None:
    """Raises what `warm_start` would, as far as it can be known before anything is restored."""
    run, old = config.init_from, _settings_of(config.init_from)
    params, trained = (param_shapes(x) for x in (policy, make_policy(old, make_env(old.env).spec)))
    _check_shapes(params, jax.eval_shape(partial(_shared, params), trained), run)


def _settings_of(run: str) -> Config:
    """Those of a run directory to start from."""
    path = os.path.join(run, "config.json")
    if not (os.path.exists(path) and has_checkpoint(run)):
        raise ConfigError(f"train.init_from={run!r}: no trained run is there")
    return load_json(path)


def _shared(params: Params, trained: Params) -> Params:
    """What new parameters take over from trained ones."""
    shared = {name: trained[name] for name in params if name in trained}
    return shared | {"position": trained["position"][: len(params["position"])]}


def _check_shapes(params: Params, shared: Params, run: str) -> None:
    new = {name: jax.tree.map(lambda x: x.shape, params[name]) for name in shared}
    old = jax.tree.map(lambda x: x.shape, shared)
    missing = {name for name in params if name.startswith("blocks_")} - set(shared)
    differing = sorted(missing | {name for name in shared if new[name] != old[name]})
    if differing:
        raise ConfigError(
            f"train.init_from={run!r}: its {', '.join(differing)} cannot be taken over; "
            "the decoder must have the same width, layers and environment, and no longer window"
        )
