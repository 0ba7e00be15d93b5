"""The seed's option D: the decoder starts from a trained AD, then learns to compress.

python train_main.py --config configs/seed_ad.py
python train_main.py --config configs/option_d.py --init_from runs/seed_ad
"""

from configs import seed_new


def get_config():
    config = seed_new.get_config()
    config.model.tf_n_layer = 4  # As in seed_ad.
    config.train.init_from = "runs/seed_ad"
    return config
