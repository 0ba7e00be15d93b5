"""configs/ppo.py trained through four compressions instead of two, on a third more targets.

    python train_main.py --config configs/ppo_four_compressions.py
    python train_main.py --config configs/ppo_four_compressions.py \
        --config.model.memory_update=slot_gate

It earns more with either memory rule; what to expect is in results/ppo_memory.
"""

from configs import ppo


def get_config():
    config = ppo.get_config()
    config.data.max_compression_depth = 4
    config.optimizer.num_warmup_steps = 160
    config.train.train_timesteps = 5000
    return config
