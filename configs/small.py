"""CompAD on Dark Room 9x9: the config that everyone runs first.

    python train_main.py --config configs/small.py

About 5 minutes on two CPU cores. Expect, on the 8 held-out goals, in the last ten episodes:
greedy, 100% of the optimum; sampled, above 95%. How soon 90% is reached varies from training
to training.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.source.num_streams = 60
    config.source.num_steps = 400
    config.model.n_latent = 10
    config.optimizer.name = "muon"
    config.optimizer.lr = 12e-3
    config.optimizer.weight_decay = 0.5
    config.train.train_batch_size = 24
    config.train.train_timesteps = 1000
    config.train.log_every = 20
    config.train.eval_every = 500
    config.train.checkpoint_every = 100
    return config
