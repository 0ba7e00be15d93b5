"""CompAD on PPO: many independent learners, and the checkpoint that acts best.

    python train_main.py --config configs/ppo.py

Five to ten minutes on two CPU cores; what to expect is in results/ppo_learners. The student is
the original system's NEW column with a larger learning rate. What differs is the source: ten PPO
learners a goal, each with ten streams that share its policy, and with fast settings, so that most
of what a history learns it learns from rewards near it. And the checkpoint that is evaluated is
the one that earned most on validation goals: the loss keeps falling, the return does not keep
rising.
"""

from configs.original import new


def get_config():
    config = new.get_config()
    config.source.ppo.num_learners = 10
    config.source.ppo.batch_size = 800  # A whole rollout of a learner.
    config.source.ppo.num_epochs = 80
    config.source.ppo.lr = 5e-3
    config.source.ppo.critic_gain = 0.01  # With 1, some goals are never learned.
    config.optimizer.lr = 1e-3
    config.optimizer.num_warmup_steps = 200
    config.train.train_batch_size = 16
    config.train.train_timesteps = 6000
    config.train.eval_every = 500
    config.train.checkpoint_every = 500
    config.train.validation_episodes = 200
    config.eval.checkpoint = "best"
    return config
