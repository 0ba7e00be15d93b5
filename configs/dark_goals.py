"""CompAD in a dark room with four goals in order: four places to find, and all to be known.

    python train_main.py --config configs/dark_goals.py

Each goal pays once an episode, after the one before it. About half an hour on two CPU cores, an
hour on one; what to expect is in results/four_goals. As in configs/dark_key_to_door.py, few of the
81^4 tasks are trained on, in a few histories each; half of these show how to go on where a search
was in vain.
"""

from configs import dark_key_to_door


def get_config():
    config = dark_key_to_door.get_config()
    config.env.name = "dark_goals"
    config.env.dark_goals.num_goals = 4
    config.env.horizon = 100
    config.source.num_steps = 1600
    config.source.staged_search.late_reward_ratio = 0.5
    config.optimizer.num_warmup_steps = 150
    config.train.train_batch_size = 12
    config.train.train_timesteps = 5500
    return config
