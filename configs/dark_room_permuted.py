"""CompAD where the goal is known and what actions do is not: 120 orders of the five actions.

    python train_main.py --config configs/dark_room_permuted.py

The teacher learns which action is which move while it walks to the goal. About ten minutes on two
CPU cores.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.env.name = "dark_room_permuted"
    config.env.start = "corner"
    config.env.horizon = 50
    config.source.name = "staged_search"
    config.source.num_steps = 1000
    config.source.staged_search.spread_random_actions = True
    config.source.staged_search.random_action_rate = 0.1
    config.model.memory_update = "slot_gate"
    config.model.tf_n_layer = 2
    config.model.encoder_n_layer = 1
    config.model.n_latent = 16
    config.optimizer.name = "muon"
    config.optimizer.lr = 12e-3
    config.optimizer.weight_decay = 1.0
    config.optimizer.num_warmup_steps = 50
    config.train.train_timesteps = 1000
    config.train.log_every = 50
    config.train.eval_every = 500
    config.train.checkpoint_every = 500
    config.eval.num_episodes = 20
    return config
