"""The original system's option A, "further simplify": one compression, ten latents.

python train_main.py --config configs/original/option_a.py
"""

from configs.original import new


def get_config():
    config = new.get_config()
    config.data.max_compression_depth = 1
    config.model.n_latent = 10
    return config
