"""configs/ppo.py with slot gates, trained through four compressions instead of two.

    python train_main.py --config configs/ppo_slot_gate.py

Gates that are trained through two compressions do not learn to act through hundreds. What to
expect is in results/ppo_memory.
"""

from configs import ppo


def get_config():
    config = ppo.get_config()
    config.model.memory_update = "slot_gate"
    config.data.max_compression_depth = 4
    config.optimizer.num_warmup_steps = 160
    config.train.train_timesteps = 5000
    return config
