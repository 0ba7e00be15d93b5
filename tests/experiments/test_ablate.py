"""Experiments: equal budgets, one change an arm, nothing done twice."""

import json

import pytest

from compad_jax.config import Config, to_dict
from compad_jax.config.checks import ConfigError, differences
from compad_jax.config.command_line import load_config
from experiments import ablate
from experiments.faults import make_hasty_policy
from experiments.suites import Arm, Suite
from experiments.suites.why_it_failed import SUITE

_BUDGET = ("train.train_timesteps", "train.eval_every", "optimizer.num_warmup_steps")


@pytest.mark.parametrize("arm", SUITE.arms, ids=lambda arm: arm.name)
def test_arms_cost_the_same_and_change_what_they_say(arm):
    config = ablate.configure_run(SUITE, arm, seed=1)
    base = ablate.configure_run(SUITE, SUITE.arms[0], seed=1)
    tokens = config.train.train_timesteps * ablate.tokens_a_step(config)
    assert tokens == pytest.approx(SUITE.num_tokens, rel=0.02)
    assert arm.config == ""
    changed = {name for name, *_ in differences(to_dict(base), to_dict(config))} - {*_BUDGET}
    assert changed == {item.split("=")[0] for item in arm.overrides}
    assert (config.train.seed, config.eval.seed) == (1, 1)


def test_an_arm_may_start_from_another():
    suite = ablate.load_suite("original_configs")
    arms = {arm.name: arm for arm in suite.arms}
    config = ablate.configure_run(suite, arms["option_d"], 2, "somewhere")
    assert config.train.init_from == "somewhere/ad-2"
    ad = ablate.configure_run(suite, arms["ad"], 2, "somewhere")
    assert (ad.model.n_latent, ad.model.tf_n_layer) == (0, config.model.tf_n_layer)
    names = [arm.name for arm in suite.arms]
    assert names.index("ad") < names.index("option_d")


def test_the_faults_befall_a_policy_that_learns():
    suite = ablate.load_suite("faults")
    config = ablate.configure_run(suite, suite.arms[0], 0)
    assert config.train.train_timesteps * ablate.tokens_a_step(config) == suite.num_tokens
    # As often as it saves, so that the best of all is evaluated.
    assert config.train.eval_every == config.train.checkpoint_every
    assert config.train.train_timesteps == 6 * config.train.eval_every
    assert config.eval.checkpoint == "best"
    for arm in suite.arms[1:]:
        assert ablate.configure_run(suite, arm, 0) == config  # A fault is no setting.


def test_a_new_setting_leaves_finished_runs_valid(monkeypatch):
    config = load_config("configs/debug.py")
    before = ablate._fingerprint(config)
    assert before != ablate._fingerprint(Config())
    plain = to_dict
    monkeypatch.setattr(ablate, "to_dict", lambda c: plain(c) | {"new_setting": 0})
    assert ablate._fingerprint(config) == before  # As by default, so it does not count.


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"arms": ["bare"]}, "--arms bare: known are base, hasty, rate"),
        ({"seeds": [7]}, "--seeds 7"),
    ],
)
def test_unknown_arms_and_seeds(tmp_path, chosen, message):
    with pytest.raises(ConfigError, match=message):
        ablate.run_suite("tiny", _tiny(tmp_path), str(tmp_path), str(tmp_path), **chosen)


def test_only_what_is_chosen_is_run(tmp_path, monkeypatch):
    ran = []

    def run_arm(config, arm, *_):
        ran.append((arm.name, config.train.seed))
        return {}

    monkeypatch.setattr(ablate, "run_arm", run_arm)
    monkeypatch.setattr(ablate, "write_report", lambda *_: "")
    chosen = {"arms": ["rate", "base"], "seeds": [1]}
    ablate.run_suite("tiny", _tiny(tmp_path), str(tmp_path), str(tmp_path), **chosen)
    assert ran == [("base", 1), ("rate", 1)]


def test_unknown_suite():
    with pytest.raises(ConfigError, match=r"--suite nothing: known are .*why_it_failed"):
        ablate.load_suite("nothing")


def _tiny(tmp_path, **changes):
    shared = ("eval.num_episodes=4", f"data.dir={tmp_path}/data", "train.checkpoint_every=40")
    arms = (
        Arm("base", "as it is"),
        Arm("hasty", "acting", act_with=make_hasty_policy, trained_as="base"),
        Arm("rate", "learning rate", ("optimizer.lr=1e-2",)),
    )
    # The budget is 40 steps, as in the config: nothing new to compile for the base.
    suite = Suite("Does it run?", "configs/debug.py", shared, 8_000, 0.1, (0, 1), arms)
    return suite._replace(**changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("suite")
    ablate.run_suite("tiny", _tiny(directory), str(directory / "runs"), str(directory / "results"))
    return directory


def _lines(directory):
    with open(directory / "results" / "results.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_run_leaves_a_line(finished):
    lines = _lines(finished)
    runs = [(line["arm"], line["seed"]) for line in lines]
    assert runs == [(arm, seed) for seed in (0, 1) for arm in ("base", "hasty", "rate")]
    by_run = dict(zip(runs, lines, strict=True))
    base, hasty, rate = (by_run[arm, 0] for arm in ("base", "hasty", "rate"))
    assert base["train"] == hasty["train"] != rate["train"]  # One training, acted upon twice.
    assert base["sample"]["per_task"] != by_run["base", 1]["sample"]["per_task"]
    assert base["held_out"]["floor"] < base["held_out"]["loss"]
    assert base["tokens"] == pytest.approx(8_000)
    table = (finished / "results" / "table.md").read_text()
    assert "| learning rate | 2 |" in table
    assert (finished / "results" / "figure.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_finished_runs_are_not_repeated(finished, monkeypatch):
    before = _lines(finished)
    monkeypatch.setattr(ablate, "train", None)  # Calling it would raise.
    places = str(finished / "runs"), str(finished / "results")
    ablate.run_suite("tiny", _tiny(finished), *places)
    assert _lines(finished) == before
    with pytest.raises(ConfigError, match="base, seed 0 was made with other settings"):
        ablate.run_suite("tiny", _tiny(finished, num_tokens=4_000), *places)
    assert _lines(finished) == before
