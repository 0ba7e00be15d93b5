"""CompAD on PPO: a source that learns every goal, and settings that distil it quickly.

    python train_main.py --config configs/ppo.py

A quarter of an hour on two CPU cores, half a minute of it collecting. What to expect is in
results/ppo_students: it fits its source better than configs/seed_new.py does, and earns no
more. The source takes whole rollouts as minibatches, 80 times, at a larger learning rate, and
its critic starts near zero: it learns all 81 goals. The student has the size, lengths and
smoothing of the seed's NEW column, and its option C.
"""

from configs import seed_new


def get_config():
    config = seed_new.get_config()
    config.source.ppo.batch_size = config.source.num_streams * config.source.ppo.rollout_length
    config.source.ppo.num_epochs = 80
    config.source.ppo.lr = 5e-3
    config.source.ppo.critic_gain = 0.01
    config.model.tf_dropout = 0.0
    config.model.tf_attn_dropout = 0.0
    config.model.reconstruction_weight = 0.1
    config.optimizer.lr = 1e-3
    config.optimizer.num_warmup_steps = 200
    config.train.train_batch_size = 16
    config.train.train_timesteps = 6000
    config.train.eval_every = 1000
    config.train.checkpoint_every = 1000
    return config
