"""The experiments on windows and on latents: equal budgets, and a table by hand."""

import pytest

from experiments import ablate, law_report
from experiments.suites import law

_FACTS = {
    "seed": 0,
    "train_seconds": 1800.0,
    "evaluate_seconds": 0.0,
    "hardware": "x",
    "commit": "y",
}


@pytest.mark.parametrize(("name", "num_arms"), [("law", 40), ("capacity", 20)])
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
        assert config.env.wait == int(wait)
        assert config.model.remembers == (method == "compad")
        latents = config.model.n_latent if config.model.remembers else 0
        assert latents + config.data.max_uncompressed_length == int(tokens)


def test_table_by_hand(tmp_path):
    """Arms come in the order of the suite."""

    def line(arm, greedy, sampled):
        shares = {"greedy": greedy, "sample": sampled}
        tested = {name: {"direct_fraction": share} for name, share in shares.items()}
        return _FACTS | {"arm": arm, "conditions": {"as_trained": tested}}

    lines = [line("ad_60_40", 0.1, 0.2), line("compad_60_40", 1.0, 0.98)]
    text = law_report.write(law.SUITE, lines, str(tmp_path))
    assert text == (tmp_path / "table.md").read_text()
    first, second = (row for row in text.splitlines() if row.startswith(("| CompAD", "| AD")))
    assert first == "| CompAD | 60 | 40 | 1.5 | 100.0% | 98.0% |"
    assert second == "| AD | 60 | 40 | 1.5 | 10.0% | 20.0% |"
    assert "1.0 hours on x; commit y." in text
    assert (tmp_path / "figure.png").stat().st_size > 10_000
