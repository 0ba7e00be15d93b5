"""The seed's option B: more recent transitions beside the memory.

python train_main.py --config configs/option_b.py
"""

from configs import seed_new


def get_config():
    config = seed_new.get_config()
    config.data.min_uncompressed_length = 30
    config.data.max_uncompressed_length = 120
    return config
