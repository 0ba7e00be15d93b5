"""The card of a run in TensorBoard."""

from compad_jax.backend import processes
from compad_jax.config import from_dict
from compad_jax.training import run_card
from compad_jax.training.metrics_log import MetricsLogger
from compad_jax.training.run_card import log_card
from tests.evaluation_files import cards_of


def test_a_card_says_what_is_not_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(run_card.provenance, "describe_hardware", lambda: "a | b")
    monkeypatch.setattr(run_card.provenance, "describe_commit", lambda: None)
    config = from_dict({"env": {"grid_size": 5}, "optimizer": {"name": "muon", "lr": 1e-3}})
    log_card(str(tmp_path), config, 12_345, step=0)
    assert cards_of(tmp_path) == [
        (
            0,
            "| | |\n| --- | --- |\n| parameters | 12,345 |\n| hardware | a \\| b |\n"
            "| commit | not known |\n| `env.grid_size` | `5` |\n| `optimizer.name` | `'muon'` |",
        )
    ]


def test_going_on_adds_a_card_and_keeps_the_first(tmp_path):
    for step in (0, 20):
        log_card(str(tmp_path), from_dict({}), 1, step)
        with MetricsLogger(str(tmp_path), step) as logger:
            logger.write(step + 20, {"loss": 1.0})
    assert [step for step, _ in cards_of(tmp_path)] == [0, 20]


def test_only_process_0_writes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "is_primary", lambda: False)
    log_card(str(tmp_path), from_dict({}), 1, 0)
    assert list(tmp_path.iterdir()) == []
