"""The original system's option B: more recent transitions beside the memory.

python train_main.py --config configs/original/option_b.py
"""

from configs.original import new


def get_config():
    config = new.get_config()
    config.data.min_uncompressed_length = 30
    config.data.max_uncompressed_length = 120
    return config
