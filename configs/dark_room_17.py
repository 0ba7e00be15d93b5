"""CompAD in a dark room of 17 x 17 cells: far more to search than an episode or a window holds.

    python train_main.py --config configs/dark_room_17.py

Of 289 cells, 29 are held out. An episode of 20 steps sees few of them, so that a search goes on
over many episodes. About half an hour on two CPU cores, minutes on a GPU; what to expect is in
results/breadth.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.env.grid_size = 17
    config.source.name = "staged_search"
    config.source.num_streams = 12
    config.source.num_steps = 1000
    # As in configs/small.py: some histories without noise, some with, some paid late.
    config.source.staged_search.spread_random_actions = True
    config.source.staged_search.random_action_rate = 0.2
    config.source.staged_search.late_reward_ratio = 0.1
    config.model.memory_update = "slot_gate"
    config.model.tf_n_layer = 2
    config.model.encoder_n_layer = 1
    config.model.n_latent = 16
    config.optimizer.name = "muon"
    config.optimizer.lr = 12e-3
    config.optimizer.weight_decay = 1.0
    config.optimizer.num_warmup_steps = 50
    config.train.train_timesteps = 3000
    config.train.log_every = 50
    config.train.eval_every = 1500
    config.train.checkpoint_every = 1500
    config.eval.num_episodes = 40
    return config
