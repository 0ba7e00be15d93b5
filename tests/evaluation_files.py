"""Finished evaluations on disk, made up, and what to look at in their reports."""

import json
import os
from pathlib import Path

import jsonschema
import matplotlib.image
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

_SCHEMA_FILE = Path(__file__).parents[1] / "docs" / "summary.schema.json"
SCHEMA = json.loads(_SCHEMA_FILE.read_text(encoding="utf-8"))

_EARLY = {
    "CompAD": (0.15, 0.4, 0.6, 0.8, 0.95, 1.0),
    "AD": (0.15, 0.3, 0.45, 0.58, 0.66, 0.71, 0.74, 0.75),
}
_SOURCE = (0.14, 0.38, 0.59, 0.81, 0.95, 0.98)


_COLUMNS = (
    "episode",
    "fraction",
    "low",
    "high",
    "mean_return",
    "return_low",
    "return_high",
    "source_fraction",
    "source_return",
    "mean_length",
    "num_compressions",
)
_WITHOUT_OPTIMUM = dict.fromkeys(
    (
        "optimum_mean",
        "random_fraction_of_optimum",
        "fraction_of_optimum",
        "final_fraction_of_optimum",
        "final_fraction_ci95",
        "episodes_to_90_percent",
        "regret",
    )
)


def _returns(final, overall):
    """What a summary says of plain returns."""
    return {
        "final_mean_return": final,
        "final_mean_return_ci95": [final - 1, final + 1],
        "mean_return_ci95": [overall - 1, overall + 1],
        "random_mean_return": 0.4,
        "source_mean_return": 15.0,
        "source_final_mean_return": 16.5,
        "final_share_of_source_return": final / 16.5,
        "regret": 16.5 - overall,
    }


def write_evaluation(
    run,
    /,
    *,
    name="held_out_greedy",
    method="CompAD",
    source_episodes=20,
    has_optimum=True,
    **changes,
):
    """Writes `<run>/eval/<name>/` with a curve that rises as early ones do, and then stays."""
    selection = changes.get("action_selection", "greedy")
    num_episodes = changes.get("num_episodes", 100)
    early = _EARLY[method][:num_episodes]
    fraction = np.full(num_episodes, early[-1])
    fraction[: len(early)] = early
    half = np.where(fraction < 1, 0.04, 0.0)
    if selection == "sample":
        fraction = fraction * 0.97 + np.random.default_rng(0).normal(0, 0.006, num_episodes)
        half = np.full(num_episodes, 0.02)
    source = [*_SOURCE, *[_SOURCE[-1]] * num_episodes][:source_episodes]
    compressions = np.arange(num_episodes) if method == "CompAD" else np.zeros(num_episodes, int)
    final = float(fraction[-max(1, num_episodes // 10) :].mean())
    above = np.flatnonzero(fraction >= 0.9)
    summary = {
        "name": name,
        "run": os.path.basename(run),
        "method": method,
        "env": "dark_room",
        "source": "mbie_eb",
        "split": "held_out",
        "num_tasks": 8,
        "num_seeds": 8,
        "num_episodes": num_episodes,
        "action_selection": selection,
        "optimum_mean": 16.5,
        "random_fraction_of_optimum": 0.024,
        "mean_return": 16.5 * float(fraction.mean()),
        "fraction_of_optimum": float(fraction.mean()),
        "final_fraction_of_optimum": final,
        "final_fraction_ci95": [final - float(half[-1]), final + float(half[-1])],
        "per_task": [
            {
                "task": [row, 3],
                "optimum": 17.0,
                "mean_return": 16.5,
                "final_mean_return": 16.5 * final - row,
                "final_fraction_of_optimum": final - 0.01 * row,
            }
            for row in range(8)
        ],
        "episodes_to_90_percent": int(above[0]) + 1 if len(above) else None,
        "num_compressions": int(compressions[-1]),
        "env_steps_per_second": 8612.3,
        "criteria": [
            {
                "name": "train loss",
                "target": "< 0.8",
                "value": 0.53,
                "passed": True,
                "floor": 0.39,
                "possible": True,
            },
            {
                "name": "return",
                "target": "> 2",
                "value": None,
                "passed": None,
                "floor": None,
                "possible": None,
            },
            {
                "name": "test loss",
                "target": "< 0.5",
                "value": 0.6,
                "passed": False,
                "floor": 0.55,
                "possible": False,
            },
        ],
        "step": 1000,
        "num_parameters": 267_000,
        "hardware": "2 CPU cores",
        "versions": {"jax": "0.10.2"},
        "commit": None,
        "config": {"env": {"grid_size": 9}, "optimizer": {"lr": 3e-4}},
        "max_compress_length": 20,
        "max_uncompressed_length": 20,
        "horizon": 20,
        **_returns(16.5 * final, 16.5 * float(fraction.mean())),
        **({} if has_optimum else _WITHOUT_OPTIMUM),
        **changes,
    }
    if not has_optimum:
        for task in summary["per_task"]:
            task |= {"optimum": None, "final_fraction_of_optimum": None}
    directory = os.path.join(run, "eval", name)
    os.makedirs(directory)
    with open(os.path.join(directory, "summary.json"), "w", encoding="utf-8") as file:
        json.dump(summary, file)
    with open(os.path.join(directory, "curve.csv"), "w", encoding="utf-8") as file:
        file.write(",".join(_COLUMNS) + "\n")
        for i, value in enumerate(fraction):
            shares = [value, value - half[i], value + half[i]]
            taught = [source[i], 16.5 * source[i]] if i < len(source) else ["", ""]
            if not has_optimum:
                taught[0] = ""
            row = [i + 1, *(shares if has_optimum else [""] * 3), *(16.5 * x for x in shares)]
            file.write(",".join(map(str, [*row, *taught, 20.0, compressions[i]])) + "\n")
    return directory


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def summary_of(directory):
    return json.loads(read(directory, "summary.json"))


def check_summary(summary):
    """Every field that the docs name is there, as they say, and no other."""
    jsonschema.validate(summary, SCHEMA)


def images_of(run):
    """{tag: [(step, PNG bytes, width, height)]} as TensorBoard shows them."""
    events = _events_of(run)
    return {
        tag: [(x.step, x.encoded_image_string, x.width, x.height) for x in events.Images(tag)]
        for tag in events.Tags()["images"]
    }


def cards_of(run):
    """[(step, Markdown)] of the cards of a run, as TensorBoard shows them."""
    events, tag = _events_of(run), "run/text_summary"
    cards = events.Tensors(tag) if tag in events.Tags()["tensors"] else []
    return [(x.step, x.tensor_proto.string_val[0].decode()) for x in cards]


def _events_of(run):
    events = EventAccumulator(os.path.join(run, "tensorboard"), purge_orphaned_data=True)
    return events.Reload()


def check_picture(path, size=None):
    """Drawn on, of the right size, and with nothing cut off by its edges."""
    pixels = matplotlib.image.imread(path)[..., :3]
    if size:
        assert pixels.shape[:2] == size
    assert 0.01 < (pixels < 0.9).any(-1).mean() < 0.5
    for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
        assert (edge == 1).all()
