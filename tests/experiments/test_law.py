"""The experiments on windows and on latents: equal budgets, and a table by hand."""

import pytest

from experiments import ablate, capacity_report, law_report
from experiments.suites import law

_FACTS = {
    "seed": 0,
    "train_seconds": 1800.0,
    "evaluate_seconds": 0.0,
    "hardware": "x",
    "commit": "y",
}


@pytest.mark.parametrize(("name", "num_arms"), [("law", 44), ("capacity", 20)])
def test_arms_cost_the_same(name, num_arms):
    suite = ablate.load_suite(name)
    assert len(suite.arms) == num_arms
    assert len({arm.name for arm in suite.arms}) == num_arms
    for arm in suite.arms:
        config = ablate.configure_run(suite, arm, 0)
        tokens = config.train.train_timesteps * ablate.tokens_a_step(config)
        assert tokens == pytest.approx(suite.num_tokens, rel=0.02)


def test_both_methods_decode_from_as_many_tokens():
    suite = ablate.load_suite("law")
    for arm in suite.arms:
        config = ablate.configure_run(suite, arm, 0)
        method, wait, tokens = arm.name.split("_")
        assert config.env.wait == (-1 if wait == "any" else int(wait))
        assert config.model.remembers == (method == "compad")
        latents = config.model.n_latent if config.model.remembers else 0
        assert latents + config.data.max_uncompressed_length == int(tokens)


def test_a_training_on_all_waits_is_tested_on_each():
    suite = ablate.load_suite("law")
    arm = next(arm for arm in suite.arms if arm.name == "compad_any_20")
    waits = [
        ablate.configure_run(suite, ablate.under(arm, condition), 0).env.wait
        for condition in arm.conditions
    ]
    assert waits == list(law.WAITS)
    trained = ablate.configure_run(suite, arm, 0)
    assert (trained.env.wait, trained.env.max_wait) == (-1, 300)


def _summary(first, later, straight):
    return {"curve": [first] + 8 * [0.0] + 5 * [later], "direct_fraction": straight}


def test_law_by_hand(tmp_path):
    """A row a wait and a window; trainings of the same place are averaged."""

    def line(arm, **conditions):
        return _FACTS | {"arm": arm, "conditions": conditions}

    def both(*greedy):
        return {"greedy": _summary(*greedy), "sample": _summary(0.5, 0.25, 0.125)}

    lines = [
        line("compad_any_40", as_trained=both(0, 0, 0), **{"60": both(1.0, 0.75, 0.5)}),
        line("ad_60_40", as_trained=both(0.9, 0.3, 0.1)),
        line("ad_60_40", as_trained=both(0.7, 0.1, 0.1)) | {"seed": 1},
        line("compad_20_40", as_trained=both(1.0, 1.0, 1.0)),
    ]
    text = law_report.write(law.SUITE, lines, str(tmp_path))
    assert text == (tmp_path / "table.md").read_text()
    short, long = text.splitlines()[2:4]
    assert short == ("| 20 | 40 | 0.5 | - | - | - | 100.0 / 25.0 | 100.0 / 12.5 | - | - |")
    assert long == (
        "| 60 | 40 | 1.5 | 80.0 / 50.0 | 20.0 / 25.0 | 10.0 / 12.5 | - | - "
        "| 75.0 / 25.0 | 50.0 / 12.5 |"
    )
    assert "2.0 hours on x; commit y." in text
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_capacity_by_hand(tmp_path):
    def line(arm, loss, share):
        goals = [{"final_fraction_of_optimum": share}] * 2
        shown = {"per_task": goals, "fraction_of_optimum": share}
        losses = {"loss": loss, "floor": 0.5, "accuracy": 0.9}
        facts = _FACTS | {"num_parameters": 7, "steps": 3, "tokens": 5}
        return (
            facts
            | {"arm": arm, "train": losses, "held_out": losses}
            | dict.fromkeys(("greedy", "sample"), shown)
        )

    lines = [line("goals_4_latents_2", 0.625, 0.5), line("goals_4_latents_1", 0.75, 0.25)]
    text = capacity_report.write(ablate.load_suite("capacity"), lines, str(tmp_path))
    assert text == (tmp_path / "table.md").read_text()
    one, two = text.splitlines()[2:4]
    assert one.startswith("| goals: 4, latents: 1 | 1 | 7 | 0.750 | 0.500 | +0.250 |")
    assert two.startswith("| goals: 4, latents: 2 | 1 | 7 | 0.625 | 0.500 | +0.125 |")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
