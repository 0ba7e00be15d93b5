"""The seed's option C: the latents must also reconstruct what they compressed.

python train_main.py --config configs/option_c.py
"""

from configs import seed_new


def get_config():
    config = seed_new.get_config()
    config.model.reconstruction_weight = 0.1
    return config
