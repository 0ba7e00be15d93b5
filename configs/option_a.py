"""The seed's option A, "further simplify": one compression, ten latents.

python train_main.py --config configs/option_a.py
"""

from configs import seed_new


def get_config():
    config = seed_new.get_config()
    config.data.max_compression_depth = 1
    config.model.n_latent = 10
    return config
