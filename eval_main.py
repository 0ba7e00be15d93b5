"""Evaluates a trained policy in context, or compares runs.

python eval_main.py --config configs/small.py --workdir runs/small [--config.eval.split=train]
python eval_main.py --compare runs/small runs/small_ad
"""

from compad_jax.commands import eval_program

if __name__ == "__main__":
    eval_program()
