"""CompAD on Dark Room 9x9: the config that everyone runs first.

python train_main.py --config configs/small.py
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.source.num_streams = 60
    config.source.num_steps = 400
    config.model.n_latent = 10
    config.optimizer.lr = 2e-3
    config.train.train_batch_size = 24
    config.train.train_timesteps = 2200
    config.train.log_every = 20
    config.train.eval_every = 100
    config.train.checkpoint_every = 100
    return config
