"""Holds the PPO of this project beside the one whose histories the original system was trained on.

    python -m experiments.ppo_curve
    python -m experiments.ppo_curve --config configs/ppo.py

The reference learned Dark Room 9x9 with the original hyperparameters: 81 goals, 100 streams,
1,000 steps. Writes `results/source/<config>.json` and `.png`; `configs/original/new.py`
is called `original_new` there.
"""

import argparse
import os
import pathlib

import numpy as np
from matplotlib.figure import Figure

from compad_jax.backend import process, provenance
from compad_jax.backend.files import write_json
from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import load_config, one_line_errors
from compad_jax.envs import make_env
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.split import choose_tasks
from compad_jax.envs.tabular import optimal_returns
from compad_jax.histories.collection import load_histories
from compad_jax.reports.figures import COLORS, INK, draw_in_style, save_figure

# Share of the optimum in each rollout of 80 steps; Stable-Baselines3 2.x, measured.
REFERENCE = (0.01, 0.03, 0.07, 0.13, 0.23, 0.38, 0.54, 0.67, 0.76, 0.82, 0.86, 0.88, 0.90)


def curve_of_goals(config: Config) -> np.ndarray:
    """Return per episode in each rollout, as a share of the optimum.

    Args:
        config: `env` and `source`; rollouts are `source.ppo.rollout_length` steps.

    Returns:
        float [G, rollouts], mean over streams; the last rollout may be shorter.
    """
    env, length = make_env(config.env), config.source.ppo.rollout_length
    reward = load_histories(config).transition.reward.mean(1)
    tasks = make_tasks(env, choose_tasks(env.num_tasks, config.env.num_tasks))
    optimum = optimal_returns(env, tasks)
    starts = np.arange(0, reward.shape[-1], length)
    per_step = [reward[:, start : start + length].mean(-1) for start in starts]
    return np.stack(per_step, -1) * config.env.horizon / np.asarray(optimum)[:, None]


def check_comparable(config: Config) -> None:
    """Raises a `ConfigError` unless the source is a PPO that can stand beside the reference."""
    source = config.source
    rollouts = -(-source.num_steps // source.ppo.rollout_length)
    if source.name != "ppo" or rollouts != len(REFERENCE):
        raise ConfigError(
            f"source.name={source.name!r} with {rollouts} rollouts: "
            f"the reference is a ppo with {len(REFERENCE)}"
        )


def name_of(config_file: str) -> str:
    """`configs/original/new.py` -> `original_new`."""
    *folders, name = pathlib.PurePath(config_file).with_suffix("").parts
    inside = folders[folders.index("configs") + 1 :] if "configs" in folders else []
    return "_".join([*inside, name])


def main() -> None:
    """Measures, compares, writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="configs/original/new.py", help="whose source")
    parser.add_argument("--results", default="results/source", help="directory to write to")
    args = parser.parse_args()
    process.configure(1)
    with one_line_errors():
        config = load_config(args.config)
        check_comparable(config)
        ours = curve_of_goals(config)
    distance = np.abs(ours.mean(0) - REFERENCE)
    facts = {
        "ours": ours.mean(0).round(4).tolist(),
        "reference": REFERENCE,
        "largest_distance": float(distance.max()),
        "final": float(ours[:, -1].mean()),
        "final_of_goals": ours[:, -1].round(3).tolist(),
        "source": to_dict(config.source),
        "hardware": provenance.describe_hardware(),
        "versions": provenance.describe_versions(),
        "commit": provenance.describe_commit(),
    }
    os.makedirs(args.results, exist_ok=True)
    path = os.path.join(args.results, name_of(args.config))
    write_json(f"{path}.json", facts)
    with draw_in_style():
        save_figure(_draw(ours.mean(0)), f"{path}.png")
    for index, (own, reference) in enumerate(zip(ours.mean(0), REFERENCE, strict=True)):
        print(f"rollout {index + 1:>2}: {own:.3f}, reference {reference:.2f}")
    print(
        f"largest distance: {distance.max():.3f}; lowest goal at the end: {ours[:, -1].min():.3f}"
    )


def _draw(ours: np.ndarray) -> Figure:
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    x = np.arange(1, len(REFERENCE) + 1)
    axes.plot(x, REFERENCE, "--", color=INK, label="reference, Stable-Baselines3")
    axes.plot(x, ours, color=COLORS[0], label="ours")
    axes.set(xlabel="Rollout of 80 steps", ylabel="Return, share of the optimum", ylim=(0, 1))
    axes.legend()
    return figure


if __name__ == "__main__":
    main()
