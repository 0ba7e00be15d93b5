"""Does all of it: collects histories, trains, evaluates in unseen tasks, reports.

python train_main.py --config configs/small.py [--config.optimizer.lr=3e-4] [--workdir DIR]
"""

from compad_jax.commands import train_program

if __name__ == "__main__":
    train_program()
