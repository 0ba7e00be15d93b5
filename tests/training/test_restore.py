"""Trained parameters come back, and start another training."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import TrainConfig, save_json
from compad_jax.config.checks import ConfigError
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.loop import train
from compad_jax.training.restore import restore_policy, warm_start
from tests.builders import make_model, override

_SHORT = {"train_timesteps": 10, "eval_every": 10, "checkpoint_every": 10}


@pytest.fixture(scope="module")
def trained_ad(debug_config, tmp_path_factory):
    """A short training without memory and with a longer window."""
    directory = tmp_path_factory.mktemp("ad")
    config = override(
        debug_config,
        model={"n_latent": 0},
        data={"max_uncompressed_length": 16, "dir": str(directory / "data")},
        train=_SHORT,
    )
    train(config, str(directory / "run"))
    return config, str(directory / "run")


@pytest.mark.timeout(300)
def test_what_is_shared_is_taken_over(debug_config, trained_ad):
    config, run = trained_ad
    _, step, ad = restore_policy(config, run)
    assert step == 10
    _, new = make_model(debug_config, seed=5)
    start = warm_start(new, TrainConfig(init_from=run))
    for name in ("embedding", "blocks_0", "norm", "head"):
        chex.assert_trees_all_equal(start[name], ad[name])
        assert any(
            not np.array_equal(x, y)
            for x, y in zip(jax.tree.leaves(start[name]), jax.tree.leaves(new[name]), strict=True)
        )
    np.testing.assert_array_equal(start["position"], ad["position"][:12])
    chex.assert_trees_all_equal(start["memory"], new["memory"])
    chex.assert_trees_all_equal_shapes(start, new)


@pytest.mark.timeout(300)
def test_training_starts_from_it(debug_config, trained_ad, tmp_path, monkeypatch):
    """With steps that change nothing, what is saved is what training started from."""

    def make_idle_steps(policy, optimizer, sample, config, mesh):
        names = ("loss", "floor", "accuracy", "num_tokens", "grad_norm")
        metrics = dict.fromkeys(names, jnp.ones(()))

        def idle_steps(state, dataset, key):
            return state._replace(step=state.step + config.train.log_every), metrics

        return jax.jit(idle_steps)

    monkeypatch.setattr("compad_jax.training.setup.make_train_steps", make_idle_steps)
    config, run = trained_ad
    data = {"dir": config.data.dir}
    config = override(debug_config, train=_SHORT | {"init_from": run}, data=data)
    train(config, str(tmp_path))
    _, _, ad = restore_policy(*trained_ad)
    _, _, params = restore_policy(config, str(tmp_path))
    chex.assert_trees_all_equal(params["head"], ad["head"])
    chex.assert_trees_all_equal(params["blocks_0"], ad["blocks_0"])


@pytest.mark.parametrize(
    ("said_there", "said_here", "step"),
    [("latest", "", 2), ("best", "", 1), ("best", "latest", 2), ("latest", "best", 1)],
)
def test_it_starts_from_the_checkpoint_that_the_run_says(
    debug_config, tmp_path, said_there, said_here, step
):
    _, params = make_model(debug_config)
    with Checkpoints(str(tmp_path)) as checkpoints:
        for number in (1, 2):
            marked = params | {
                "head": jax.tree.map(partial(jnp.full_like, fill_value=number), params["head"])
            }
            checkpoints.save(number, marked, {"nothing": 0}, -float(number))
    config = override(debug_config, eval={"checkpoint": said_there})
    save_json(config, str(tmp_path / "config.json"))
    settings = TrainConfig(init_from=str(tmp_path), init_checkpoint=said_here)
    start = warm_start(params, settings)
    np.testing.assert_array_equal(start["head"]["kernel"], step)


def test_nothing_to_start_from(debug_config):
    _, params = make_model(debug_config)
    with pytest.raises(ConfigError, match=r"train.init_from='nowhere': no trained run is there"):
        warm_start(params, TrainConfig(init_from="nowhere"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tf_n_layer": 2}, "blocks_1"),
        ({"tf_dim_feedforward": 48}, "blocks_0"),
        ({"tf_n_embd": 32}, "embedding"),
    ],
)
def test_another_decoder_cannot_be_taken_over(debug_config, trained_ad, change, named):
    _, params = make_model(override(debug_config, model=change))
    with pytest.raises(ConfigError, match=f"{named}.* cannot be taken over"):
        warm_start(params, TrainConfig(init_from=trained_ad[1]))


@pytest.mark.timeout(300)
def test_a_longer_window_cannot_be_taken_over(debug_config, trained_ad):
    _, params = make_model(override(debug_config, data={"max_uncompressed_length": 20}))
    with pytest.raises(ConfigError, match="position cannot be taken over"):
        warm_start(params, TrainConfig(init_from=trained_ad[1]))
