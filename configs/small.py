"""CompAD on Dark Room 9x9: the config that everyone runs first.

python train_main.py --config configs/small.py
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.train.train_timesteps = 800
    return config
