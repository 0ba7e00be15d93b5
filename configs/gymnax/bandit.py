"""CompAD on gymnax's Bernoulli bandit with two arms: which one pays is the luck of a reset.

    pip install .[gymnax]
    python train_main.py --config configs/gymnax/bandit.py

A task is how often the worse arm pays, and which arm it is: every reset of a task draws alike.
"""

from typing import Any

import jax
import jax.numpy as jnp

from compad_jax.config import default_config
from compad_jax.envs import register_env
from compad_jax.envs.gymnax_family import GymnaxFamily, GymnaxTask, make_gymnax_family


class Bandit(GymnaxFamily):
    """The bandit, and what is known of it."""

    num_arms = 2

    def optimal_return(self, task: GymnaxTask) -> jax.Array:
        """The better arm at every pull, float []."""
        worse = task.values["reward_prob"]
        return self.spec.horizon * jnp.maximum(worse, 1 - worse)

    def random_return(self, task: GymnaxTask) -> jax.Array:
        """One pays as often as the other does not, float []."""
        return jnp.asarray(self.spec.horizon / 2)


def _make(config: Any) -> GymnaxFamily:
    del config
    return make_gymnax_family(
        "BernoulliBandit-misc",
        {"reward_prob": (0.0, 0.4)},
        fixed={"max_steps_in_episode": 20.0, "t_max": 20},
        resets_alike=True,
        make=Bandit,
    )


register_env("bernoulli_bandit", _make)


def get_config():
    config = default_config()
    config.env.name = "bernoulli_bandit"
    config.env.num_tasks = 600
    config.source.name = "ucb"
    config.source.num_streams = 4
    config.source.num_steps = 200
    config.model.memory_update = "slot_gate"
    config.model.tf_n_layer = 2
    config.model.encoder_n_layer = 1
    config.model.n_latent = 8
    config.optimizer.label_smoothing = 0.0
    config.train.train_timesteps = 400
    config.train.log_every = 20
    config.eval.num_episodes = 10
    config.eval.num_seeds = 4
    return config
