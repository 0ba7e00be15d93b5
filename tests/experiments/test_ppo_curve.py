"""The curve of made-up histories."""

import numpy as np
import pytest

from compad_jax.config import from_dict
from compad_jax.config.checks import ConfigError
from compad_jax.config.command_line import load_config
from compad_jax.types import History, Transition
from experiments import ppo_curve


def test_curve_by_hand(monkeypatch):
    """Goals on a 2x2 grid, one rollout of four steps and a half one, two streams."""
    config = from_dict(
        {
            "env": {"grid_size": 3, "horizon": 4},
            "source": {"num_streams": 2, "num_steps": 6, "ppo": {"rollout_length": 4}},
        }
    )
    reward = np.zeros((9, 2, 6), np.float32)
    reward[4, :, :4] = [[1, 1, 1, 1], [1, 0, 1, 0]]  # The centre, where episodes start.
    reward[4, :, 4:] = 1
    reward[0, :, 4:] = [[1, 0], [0, 0]]
    history = History(Transition(*([None] * 2), reward, None, None), None)
    monkeypatch.setattr(ppo_curve, "load_histories", lambda _: history)
    curve = ppo_curve.curve_of_goals(config)
    assert curve.shape == (9, 2)
    np.testing.assert_allclose(curve[4], [0.75, 1.0])  # The optimum is 4 of 4 steps.
    assert curve[0] == pytest.approx([0.0, 0.25 * 4 / 3])  # There it is 3: two steps away.
    assert curve[1:4].sum() == 0


def test_only_a_ppo_with_as_many_rollouts_stands_beside_the_reference():
    ppo_curve.check_comparable(load_config("configs/ppo.py"))
    for overrides in (("source.num_steps=400",), ("source.name=mbie_eb",)):
        with pytest.raises(ConfigError, match=r"^source\.name=.*: the reference is a ppo with 13$"):
            ppo_curve.check_comparable(load_config("configs/ppo.py", overrides))


def test_results_are_named_after_the_config():
    assert ppo_curve.name_of("configs/ppo.py") == "ppo"
    assert ppo_curve.name_of("/somewhere/configs/original/new.py") == "original_new"
    assert ppo_curve.name_of("elsewhere/own.py") == "own"
