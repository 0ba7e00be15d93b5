"""CompAD on gymnax's CartPole-v1 with other physics in every task, taught by PPO.

    pip install .[gymnax]
    python train_main.py --config configs/gymnax/cartpole.py

A task is gravity, the length of the pole, and the force of a push. No optimum is known: returns
are shown plainly and beside those of the teacher.
"""

from typing import Any

from compad_jax.config import default_config
from compad_jax.envs import register_env
from compad_jax.envs.gymnax_family import GymnaxFamily, make_gymnax_family


def _make(config: Any) -> GymnaxFamily:
    del config
    return make_gymnax_family(
        "CartPole-v1",
        {"gravity": (5.0, 20.0), "length": (0.3, 1.0), "force_mag": (5.0, 15.0)},
        fixed={"max_steps_in_episode": 200},
        obs_ranges=((-2.4, -3.0, -0.2, -3.0), (2.4, 3.0, 0.2, 3.0)),
    )


register_env("cartpole", _make)


def get_config():
    config = default_config()
    config.env.name = "cartpole"
    config.env.num_tasks = 60
    config.source.name = "ppo"
    config.source.num_streams = 16
    config.source.num_steps = 4000
    config.source.ppo.rollout_length = 200
    config.source.ppo.batch_size = 200
    config.source.ppo.num_epochs = 5
    config.source.ppo.lr = 1e-3
    config.data.whole_history = False
    config.data.max_compression_depth = 3
    config.model.memory_update = "slot_gate"
    config.train.train_timesteps = 1000
    config.eval.num_episodes = 20
    config.eval.num_seeds = 2
    return config
