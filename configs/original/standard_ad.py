"""The original system's standard AD: four layers, a window of 240 transitions, no memory.

python train_main.py --config configs/original/standard_ad.py
"""

from configs.original import new


def get_config():
    config = new.get_config()
    config.data.max_compress_length = 80  # What a full window drops at once.
    config.data.min_uncompressed_length = 240
    config.data.max_uncompressed_length = 240
    config.model.tf_n_layer = 4
    config.model.n_latent = 0
    return config
