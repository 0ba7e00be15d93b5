"""CompAD on Dark Key-to-Door 9x9: find a key, then a door, and know both in the next episode.

    python train_main.py --config configs/dark_key_to_door.py

About twenty minutes on two CPU cores, collecting included; what to expect is in
results/families. 900 of the 6,561 pairs of cells are trained on, 45 choose the
checkpoint and 100 are held out: more tasks, each in a few histories only, teach more than fewer
in many.
"""

from compad_jax.config import default_config


def get_config():
    config = default_config()
    config.env.name = "dark_key_to_door"
    config.env.horizon = 50
    config.env.num_tasks = 1045
    config.env.train_env_ratio = 0.9043  # 945 of them.
    config.env.validation_ratio = 0.0476  # 45 of these.
    config.source.name = "staged_search"
    config.source.num_streams = 6
    config.source.num_steps = 1000
    # As in configs/small.py: some histories without noise, some with. None is paid late: of six
    # streams it would be the noisiest one, and never be paid at all.
    config.source.staged_search.spread_random_actions = True
    # Little noise: a student that samples is as unsteady as its teachers were on average.
    config.source.staged_search.random_action_rate = 0.05
    config.source.staged_search.final_random_action_rate = 0.0
    config.model.memory_update = "slot_gate"
    config.model.tf_n_layer = 2
    config.model.encoder_n_layer = 1
    config.model.n_latent = 16
    config.optimizer.name = "muon"
    config.optimizer.lr = 12e-3
    config.optimizer.weight_decay = 1.0
    config.optimizer.num_warmup_steps = 50
    config.train.train_timesteps = 2500
    config.train.log_every = 50
    config.train.eval_every = 500
    config.train.checkpoint_every = 500
    config.eval.num_episodes = 20
    return config
