"""CompAD on Dark Room 9x9: the config that everyone runs first.

    python train_main.py --config configs/small.py

About 2 minutes on two CPU cores. Expect, on the 8 held-out goals, in the last ten episodes:
greedy, 99% of the optimum or more, and 90% from the 5th episode on; sampled, 91% to 97%.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.source.num_streams = 60
    config.source.num_steps = 320
    # Histories without noise show the best way to act; those with it, how to recover.
    config.source.mbie_eb.spread_random_actions = True
    config.source.mbie_eb.random_action_rate = 0.2
    config.source.mbie_eb.anneal_ratio = 1.0
    config.model.n_latent = 6
    config.optimizer.name = "muon"
    config.optimizer.lr = 12e-3
    config.optimizer.weight_decay = 1.0
    config.optimizer.num_warmup_steps = 50
    config.train.train_batch_size = 30
    config.train.train_timesteps = 350
    config.train.log_every = 50
    config.train.eval_every = 200
    config.train.checkpoint_every = 100
    return config
