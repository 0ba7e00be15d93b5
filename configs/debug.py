"""Every code path in 20 seconds: a smoke test, far too short to learn from.

python train_main.py --config configs/debug.py
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.env.grid_size = 5
    config.env.horizon = 10
    config.source.num_streams = 4
    config.source.num_steps = 60
    config.data.min_compress_length = 6
    config.data.max_compress_length = 10
    config.data.min_uncompressed_length = 6
    config.data.max_uncompressed_length = 12
    config.data.whole_history = False
    config.model.tf_n_embd = 16
    config.model.tf_n_layer = 1
    config.model.tf_n_head = 2
    config.model.tf_dim_feedforward = 32
    config.model.n_latent = 4
    config.model.encoder_n_layer = 1
    config.model.encoder_n_head = 2
    config.model.tf_dropout = 0.1
    config.model.tf_attn_dropout = 0.1
    config.optimizer.num_warmup_steps = 4
    config.train.train_batch_size = 8
    config.train.quick_compile = True
    config.train.train_timesteps = 40
    config.train.log_every = 5
    config.train.eval_every = 10
    config.train.checkpoint_every = 20
    config.train.eval_batches = 1
    config.eval.num_seeds = 2
    config.eval.num_episodes = 6
    config.eval.chunk_episodes = 4
    return config
