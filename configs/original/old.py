"""The original system's OLD column, which it blames for its failure, with correct sampling.

python train_main.py --config configs/original/old.py
"""

from configs.original import new


def get_config():
    config = new.get_config()
    config.data.max_compression_depth = 3
    config.data.min_compress_length = 15
    config.data.max_compress_length = 60
    config.model.tf_n_embd = 128
    config.model.tf_n_layer = 4
    config.model.tf_n_head = 8
    config.model.tf_dim_feedforward = 512
    config.model.tf_dropout = 0.1
    config.model.tf_attn_dropout = 0.1
    config.model.n_latent = 40
    config.model.encoder_n_layer = 3
    config.model.encoder_n_head = 8
    config.optimizer.lr = 1e-4
    config.optimizer.num_warmup_steps = 5000
    config.optimizer.label_smoothing = 0.0
    config.train.train_batch_size = 128
    config.train.train_timesteps = 150_000
    return config
