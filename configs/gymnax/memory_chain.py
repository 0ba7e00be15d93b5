"""CompAD on bsuite's MemoryChain in gymnax: a bit is shown once, and asked for up to 200 steps on.

    pip install .[gymnax]
    python train_main.py --config configs/gymnax/memory_chain.py

A task is a length: after so many steps the action must be the bit of the first observation, for
a reward of 1, or else -1. What is done meanwhile changes nothing, so that the environment acts
then. The decoder reads 16 tokens; the longest tasks ask after more than ten windows.

Of the package: a step returns the observation from before the step, so that the first one is
shown twice.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from compad_jax.config import default_config
from compad_jax.envs import register_env
from compad_jax.envs.gymnax_family import GymnaxFamily, GymnaxTask, make_gymnax_family
from compad_jax.types import Transition

_LENGTHS = (3, 202)


class ChainState(NamedTuple):
    """What the package calls the state, and when it will ask."""

    inner: Any
    length: jax.Array  # int [], steps until the answer.


class MemoryChain(GymnaxFamily):
    """MemoryChain, and what is known of it."""

    def reset(self, key: jax.Array, task: GymnaxTask) -> tuple[ChainState, jax.Array]:
        """See `Env`."""
        inner, obs = super().reset(key, task)
        return ChainState(inner, task.values["memory_length"]), obs

    def step(self, key, env_state, action, task):
        """See `Env`."""
        inner, *others = super().step(key, env_state.inner, action, task)
        return ChainState(inner, env_state.length), *others

    def distractor(self, env_state: ChainState) -> jax.Array:
        """Whether nobody asks yet: bool []."""
        return env_state.inner.time < env_state.length

    def optimal_actions(self, transition: Transition, task: GymnaxTask) -> jax.Array:
        """See `GuidedEnv`: the bit that was shown last, when it is asked for."""
        length, place = task.values["memory_length"], jnp.arange(len(transition.done))
        shown = jax.lax.cummax(jnp.where(transition.obs[:, 2] != 0, place, 0))
        bit = jax.nn.one_hot((transition.obs[shown, 2] > 0).astype(jnp.int32), 2)
        asks = place % (length + 1) == length
        return jnp.where(asks[:, None], bit, 0.5)

    def optimal_return(self, task: GymnaxTask) -> jax.Array:
        """Every answer is right, float []."""
        return jnp.ones(())

    def random_return(self, task: GymnaxTask) -> jax.Array:
        """Half of the answers are right, float []."""
        return jnp.zeros(())


def _make(config: Any) -> GymnaxFamily:
    del config  # Its settings are those of other families.
    return make_gymnax_family(
        "MemoryChain-bsuite",
        {"memory_length": _LENGTHS},
        fixed={"max_steps_in_episode": _LENGTHS[1] + 1},
        obs_ranges=((0.0, 0.0, -1.0), (1.0, 1.0, 1.0)),
        reward_range=(-1.0, 1.0),
        make=MemoryChain,
    )


register_env("memory_chain", _make)


def get_config():
    config = default_config()
    config.env.name = "memory_chain"
    config.source.name = "random"
    config.source.target = "optimal"
    config.source.num_streams = 30
    config.source.num_steps = 600
    for kind in ("compress", "uncompressed"):
        for bound in ("min", "max"):
            config.data[f"{bound}_{kind}_length"] = 12
    config.model.memory_update = "slot_gate"
    config.model.tf_n_layer = 2
    config.model.encoder_n_layer = 1
    config.model.n_latent = 4
    config.optimizer.name = "muon"
    config.optimizer.lr = 12e-3
    config.optimizer.weight_decay = 1.0
    config.optimizer.num_warmup_steps = 50
    config.optimizer.label_smoothing = 0.0
    config.train.train_timesteps = 600
    config.train.log_every = 50
    config.train.eval_every = 300
    config.train.checkpoint_every = 300
    config.eval.num_seeds = 32
    config.eval.num_episodes = 8
    return config
