"""Goes on where configs/dark_goals.py ended: four goals that are kept when nothing is left to earn.

    python train_main.py --config configs/dark_goals.py
    python train_main.py --config configs/dark_goals_further.py

What a student does when it has earned everything is not trained: it walks about as if it were
searching, and forgets what it takes for searched in vain. So here teachers search on, too. Trained
on from the start, such histories teach worse to remember; hence a second training, of some twenty
minutes on two CPU cores. What to expect is in results/four_goals.
"""

from configs import dark_goals


def get_config():
    config = dark_goals.get_config()
    config.source.staged_search.idle_search_ratio = 0.5
    config.optimizer.lr = 6e-3
    config.optimizer.num_warmup_steps = 50
    config.train.train_timesteps = 4000
    config.train.init_from = "runs/dark_goals"
    return config
