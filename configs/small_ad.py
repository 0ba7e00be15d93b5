"""AD on Dark Room 9x9: the baseline without memory.

    python train_main.py --config configs/small_ad.py

What to expect, and how long it takes, is in results/small_vs_ad/comparison.json.
Same source, budget and decoder as configs/small.py; its window holds as many tokens as
CompAD's latents and window together, and slides by `max_compress_length`.
"""

from configs import small


def get_config():
    config = small.get_config()
    decoder_tokens = config.model.n_latent + config.data.max_uncompressed_length
    config.model.n_latent = 0
    config.data.min_uncompressed_length = decoder_tokens
    config.data.max_uncompressed_length = decoder_tokens
    config.data.min_compress_length = 10
    config.data.max_compress_length = 10
    return config
