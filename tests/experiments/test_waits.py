"""The experiments on waits: what their arms and conditions are, and what their report says."""

import json

import jax
import numpy as np
import pytest

from compad_jax.config import to_dict
from compad_jax.config.checks import differences
from compad_jax.config.command_line import load_config
from compad_jax.envs import make_env
from compad_jax.envs.split import tasks_of
from compad_jax.histories.collection import collect
from compad_jax.training.run_directory import TEST_SETTINGS
from experiments import ablate, wait_report
from experiments.bandit_teacher import teacher_regrets
from experiments.suites import Arm, Condition, Suite

_SUITES = ("wait_room", "wait_door", "wait_bandit")
_LINE = {
    "seed": 0,
    "train_seconds": 1800.0,
    "evaluate_seconds": 0.0,
    "hardware": "x",
    "commit": "y",
}


@pytest.mark.parametrize("name", _SUITES)
def test_arms_cost_the_same_and_conditions_can_be_evaluated(name):
    suite = ablate.load_suite(name)
    base = ablate.configure_run(suite, suite.arms[0], 0)
    assert base.model.memory_update == "slot_gate"
    allowed = {f"env.{setting}" for setting in TEST_SETTINGS}
    for arm in suite.arms:
        config = ablate.configure_run(suite, arm, 0)
        tokens = config.train.train_timesteps * ablate.tokens_a_step(config)
        assert tokens == pytest.approx(suite.num_tokens, rel=0.02)
        for condition in (*suite.conditions, *arm.conditions):
            tested = ablate.configure_run(suite, ablate.under(arm, condition), 0)
            changed = {path for path, *_ in differences(to_dict(config), to_dict(tested))}
            assert {path for path in changed if not path.startswith("eval.")} <= allowed
            assert str(tested.env.wait) == condition.name
    small = ablate.configure_run(suite, next(a for a in suite.arms if a.name.startswith("ad_")), 0)
    assert not small.model.remembers
    latents, window = base.model.n_latent, base.data.max_uncompressed_length
    assert small.data.max_uncompressed_length == latents + window


def _summary(direct):
    curve = [0.5, direct, direct - 0.2]
    regrets = {"decision_regret": 0.1, "recall_regret": 1.0}
    return {"direct_fraction": direct, "curve": curve} | regrets


def test_table_by_hand(tmp_path, monkeypatch):
    known = {"decision_regret": 0.1234, "recall_regret": 3.4}
    monkeypatch.setattr(wait_report, "teacher_regrets", lambda *_: known)
    arms = Arm("gate", "a gate"), Arm("none", "nothing"), Arm("later", "not run yet")
    conditions = Condition("0"), Condition("100")
    room = "configs/dark_room_wait.py"
    suite = Suite("Why?", room, (), 2_000_000, 0.1, (0, 1), arms, conditions=conditions)
    lines = [
        _LINE
        | {
            "arm": arm,
            "seed": seed,
            "conditions": {
                "0": {"greedy": _summary(1.0), "sample": _summary(0.98)},
                "100": {"greedy": _summary(share), "sample": _summary(share / 2)},
            },
        }
        for arm, seed, share in (("gate", 0, 1.0), ("gate", 1, 0.9), ("none", 0, 0.1))
    ]
    text = wait_report.write(suite, lines, str(tmp_path))
    assert text == (tmp_path / "table.md").read_text()
    assert "| a gate | greedy | 2 | 100 [100, 100] | 95 [90, 100] |" in text
    assert "| a gate | sampled | 2 | 98 [98, 98] | 48 [45, 50] |" in text
    assert "| nothing | greedy | 1 | 100 | 10 |" in text
    assert "not run yet" not in text
    assert "regret" not in text  # Of a room; a bandit has regrets instead.
    assert "training seeds 0, 1; 1.5 hours on x; commit y." in text
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "optimum" not in text  # With one goal all is earned by the way to it.
    door = suite._replace(config="configs/dark_key_to_door.py")
    _, later = wait_report.write(door, lines, str(tmp_path)).split("share of the optimum after")
    assert "| a gate | greedy | 2 | 90 [90, 90] | 85 [80, 90] |" in later
    for line in lines:
        for summaries in line["conditions"].values():
            for summary in summaries.values():
                summary["direct_fraction"] = None
    text = wait_report.write(suite, lines, str(tmp_path))
    assert text.startswith("regret of the first pull after the wait:")
    assert "regret of all pulls after the wait:" in text
    assert (
        "teacher, on the same tasks: 0.12 (regret of the first pull after the wait), 3.40" in text
    )
    assert "| a gate | greedy | 2 | 0.10 [0.10, 0.10] | 0.10 [0.10, 0.10] |" in text


def test_regrets_of_a_teacher_by_hand():
    """UCB pulls one arm at a time, so that its regrets follow from the arms alone."""
    overrides = ("env.num_tasks=60", "source.num_steps=100", "env.max_wait=9")
    found = teacher_regrets("configs/delayed_bandit.py", overrides)
    config = load_config("configs/delayed_bandit.py", (*overrides, "env.wait=0"))
    env = make_env(config.env)
    rows, tasks = tasks_of(env, config.env, "held_out")
    steps = jax.tree.map(lambda x: x[rows], collect(config).transition)
    gaps = []
    for task, actions in zip(np.asarray(tasks), steps.action, strict=True):
        gaps.append([task.max() - task[stream[50]] for stream in actions])
    assert found["decision_regret"] == pytest.approx(np.mean(gaps), abs=1e-3)
    best = 50 * np.asarray(tasks).max(-1)
    paid = steps.reward[:, :, 50:].sum(-1)
    assert found["recall_regret"] == pytest.approx((best[:, None] - paid).mean(), rel=1e-4)
    assert 0 < found["decision_regret"] < 0.3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_suite_with_conditions_runs(tmp_path):
    overrides = ("env.reward=first_visit", "env.grid_size=3", "env.horizon=15", "env.max_wait=20")
    overrides += ("source.name=staged_search", "train.checkpoint_every=40", "eval.num_episodes=3")
    arms = (Arm("replace", "replace"),)
    conditions = (
        Condition("5", ("env.wait=5", "eval.num_seeds=1")),
        Condition("60", ("env.wait=60",)),
    )
    suite = Suite(
        question="Does it run?",
        config="configs/debug.py",
        overrides=(*overrides, f"data.dir={tmp_path}/data"),
        num_tokens=8_000,
        warmup_ratio=0.1,
        seeds=(0,),
        arms=arms,
        conditions=conditions,
        report="wait_report",
    )
    ablate.run_suite("tiny", suite, str(tmp_path / "runs"), str(tmp_path / "results"))
    (line,) = map(json.loads, (tmp_path / "results" / "results.jsonl").read_text().splitlines())
    for name in ("5", "60"):
        for summary in line["conditions"][name].values():
            assert 0 <= summary["direct_fraction"] <= 1
    few, many = (line["conditions"][name]["sample"]["num_compressions"] for name in ("5", "60"))
    assert few < many
    assert "| replace | sampled |" in (tmp_path / "results" / "table.md").read_text()
