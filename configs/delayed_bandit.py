"""CompAD on the delayed bandit: ten arms, fifty pulls, a wait, fifty pulls of the same arms.

    python train_main.py --config configs/delayed_bandit.py

About three minutes on two CPU cores, collecting included; what to expect is in
results/families. There is no wait unless one is asked for: --config.env.max_wait=300 trains
with waits of up to 300 steps, log-uniformly, and --config.env.wait=1000 has waits of 1,000.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.env.name = "delayed_bandit"
    config.env.num_tasks = 4200
    config.env.train_env_ratio = 0.9524  # 4,000 of them.
    config.env.validation_ratio = 0.05  # 200 of these, which leaves 3,800.
    config.source.name = "ucb"
    config.source.num_streams = 2
    config.source.num_steps = 400
    config.model.memory_update = "slot_gate"
    config.model.tf_n_layer = 2
    config.model.encoder_n_layer = 1
    config.model.n_latent = 12
    config.optimizer.name = "muon"
    config.optimizer.lr = 6e-3
    config.optimizer.weight_decay = 0.3
    config.optimizer.num_warmup_steps = 50
    config.optimizer.label_smoothing = 0.0
    config.train.train_batch_size = 48
    config.train.train_timesteps = 1000
    config.train.log_every = 50
    config.train.eval_every = 500
    config.train.checkpoint_every = 500
    config.eval.num_seeds = 2
    config.eval.num_episodes = 4
    return config
