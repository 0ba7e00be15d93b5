"""The original system's NEW column: CompAD on the histories of its PPO agents.

    python train_main.py --config configs/original/new.py

The original asks for 100,000 steps with one target a window. Every token is a target here, so
that 1,000 steps have as many targets; for that length add
--config.train.train_timesteps=1000 --config.optimizer.num_warmup_steps=20.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.source.name = "ppo"
    config.source.num_streams = 100
    config.source.num_steps = 1000
    config.data.whole_history = False
    config.data.max_compression_depth = 2
    config.data.min_compress_length = 20
    config.data.max_compress_length = 40
    config.data.min_uncompressed_length = 15
    config.data.max_uncompressed_length = 80
    config.model.tf_n_embd = 64
    config.model.tf_n_layer = 3
    config.model.tf_n_head = 4
    config.model.tf_dim_feedforward = 256
    config.model.tf_dropout = 0.2
    config.model.tf_attn_dropout = 0.2
    config.model.n_latent = 20
    config.model.encoder_n_layer = 2
    config.optimizer.lr = 3e-4
    config.optimizer.num_warmup_steps = 2000
    config.optimizer.label_smoothing = 0.1
    config.train.train_batch_size = 256
    config.train.train_timesteps = 100_000
    config.train.eval_batches = 1
    config.eval.num_episodes = 500
    return config
