"""CompAD in a dark room with waits: find the goal, be moved about at random, walk straight back.

    python train_main.py --config configs/dark_room_wait.py
    python eval_main.py --config configs/dark_room_wait.py --workdir runs/dark_room_wait \\
        --config.env.wait=100000

The goal pays once an episode; then, in three of four episodes, the environment moves the agent at
random for up to 300 steps (log-uniformly), and the next episode starts in the centre. The second
command has waits of 100,000 steps. Some eight minutes on two CPU cores; what to expect is in
results/wait_room.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.env.reward = "first_visit"
    config.env.horizon = 120  # Enough to search the whole room.
    config.env.max_wait = 300
    config.env.no_wait_ratio = 0.25  # Returning at once is learned as well as returning late.
    config.source.name = "staged_search"
    config.source.num_steps = 1600
    # Little noise: a student that samples is as unsteady as its teachers were on average.
    config.source.staged_search.spread_random_actions = True
    config.source.staged_search.random_action_rate = 0.02
    config.source.staged_search.final_random_action_rate = 0.0
    config.model.memory_update = "slot_gate"
    config.model.tf_n_layer = 2
    config.model.encoder_n_layer = 1
    config.model.n_latent = 10
    config.optimizer.name = "muon"
    config.optimizer.lr = 12e-3
    config.optimizer.weight_decay = 1.0
    config.optimizer.num_warmup_steps = 50
    config.optimizer.label_smoothing = 0.0
    config.train.train_batch_size = 12
    config.train.train_timesteps = 1000
    config.train.log_every = 50
    config.train.eval_every = 500
    config.train.checkpoint_every = 500
    config.eval.num_episodes = 8
    return config
