"""The original system's option D: the decoder starts from a trained AD, then learns to compress.

python train_main.py --config configs/original/standard_ad.py
python train_main.py --config configs/original/option_d.py --init_from runs/standard_ad
"""

from configs.original import new


def get_config():
    config = new.get_config()
    config.model.tf_n_layer = 4  # As in standard_ad.
    config.train.init_from = "runs/standard_ad"
    return config
