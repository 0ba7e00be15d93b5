"""CompAD in XLand-MiniGrid's empty room, from a random start in each task, taught by PPO.

    pip install .[xminigrid]
    python train_main.py --config configs/xminigrid_empty.py

A task is a layout of MiniGrid-EmptyRandom-6x6: where the agent starts and which way it looks. An
observation is the 5x5 cells before it. The environment's reward falls with the steps, and no
optimum is known: returns are shown plainly and beside those of the teacher.
"""

from typing import Any

from compad_jax.config import default_config
from compad_jax.envs import register_env
from compad_jax.envs.xminigrid_family import XMiniGridFamily, make_xminigrid_family


def _make(config: Any) -> XMiniGridFamily:
    del config
    return make_xminigrid_family("MiniGrid-EmptyRandom-6x6", view_size=5, max_steps=60)


register_env("xminigrid_empty", _make)


def get_config():
    config = default_config()
    config.env.name = "xminigrid_empty"
    config.env.num_tasks = 60
    config.source.name = "ppo"
    config.source.num_streams = 8
    config.source.num_steps = 4000
    config.source.ppo.rollout_length = 120
    config.source.ppo.batch_size = 120
    config.source.ppo.num_epochs = 5
    config.source.ppo.lr = 1e-3
    config.data.whole_history = False
    config.data.max_compression_depth = 3
    config.model.memory_update = "slot_gate"
    config.train.train_timesteps = 600
    config.eval.num_episodes = 20
    config.eval.num_seeds = 2
    return config
