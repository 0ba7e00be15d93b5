"""configs/ppo.py with one learner a goal: its hundred streams share a policy.

    python train_main.py --config configs/ppo_shared.py

Collecting is cheaper, since a step of a learner costs the same for any number of streams.
"""

from configs import ppo


def get_config():
    config = ppo.get_config()
    config.source.ppo.num_learners = 1
    config.source.ppo.batch_size = config.source.num_streams * config.source.ppo.rollout_length
    return config
