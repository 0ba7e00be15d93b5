"""CompAD on Dark Room 9x9: the config that everyone runs first.

    python train_main.py --config configs/small.py

About a minute on two CPU cores; what to expect is in results/small_vs_ad/comparison.md.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.source.num_steps = 320
    # Histories without noise show the best way to act, those with it how to recover, and those
    # that are paid late how to go on searching. Nobody imitates the noise.
    config.source.mbie_eb.spread_random_actions = True
    config.source.mbie_eb.random_action_rate = 0.4
    config.source.mbie_eb.final_random_action_rate = 0.1
    config.source.mbie_eb.random_run_length = 1
    config.source.mbie_eb.late_reward_ratio = 0.1
    # Six latents, four heads and feed-forward layers of 256 earn no more and take longer.
    config.model.tf_n_layer = 2
    config.model.tf_n_head = 2
    config.model.tf_dim_feedforward = 128
    config.model.encoder_n_layer = 1
    config.model.encoder_n_head = 2
    config.model.n_latent = 4
    config.optimizer.name = "muon"
    config.optimizer.lr = 12e-3
    config.optimizer.weight_decay = 1.0
    config.optimizer.num_warmup_steps = 50
    config.train.train_timesteps = 600
    config.train.log_every = 50
    config.train.eval_every = 300
    config.train.checkpoint_every = 100
    return config
