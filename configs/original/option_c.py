"""The original system's option C: the latents must also reconstruct what they compressed.

python train_main.py --config configs/original/option_c.py
"""

from configs.original import new


def get_config():
    config = new.get_config()
    config.model.reconstruction_weight = 0.1
    return config
