"""The original system's standard AD on the histories and the targets of configs/ppo.py.

python train_main.py --config configs/ppo_ad.py
"""

from configs import ppo
from configs.original import standard_ad


def get_config():
    config, ad = ppo.get_config(), standard_ad.get_config()
    config.data, config.model = ad.data, ad.model
    config.train.train_timesteps = 2640  # Its windows hold 240 targets, CompAD's 107.
    config.train.eval_every = 440
    config.train.checkpoint_every = 440
    return config
