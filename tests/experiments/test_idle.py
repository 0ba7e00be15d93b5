import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config.checks import ConfigError
from compad_jax.envs import protocol
from compad_jax.envs.dark_goals import DarkGoals
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.run_directory import claim_workdir
from experiments import idle
from tests.builders import make_model, override


def _run(config, path):
    run = str(path / "run")
    claim_workdir(config, run)
    with Checkpoints(run) as checkpoints:
        step = config.train.train_timesteps
        checkpoints.save(step, make_model(config)[1], {"step": step}, 0.0)
    return run


def test_only_an_idle_agent_acts_at_random():
    env, task = idle.RandomWhenIdle(DarkGoals(3, 30)), jnp.array([[0, 1], [0, 0]])
    state, _ = protocol.reset(env, jax.random.key(0), task)
    places = env.env.next_places().tolist()  # Row-major: from 4, the centre, to 1 and to 0.
    moves = [places[4].index(1), places[1].index(0), *[4] * 28]
    seen = []
    step = jax.jit(protocol.step, static_argnums=0)
    for number, move in enumerate(moves):
        timestep = step(env, jax.random.key(number), state, jnp.array(move), task)
        seen.append((bool(timestep.distracted), int(timestep.action), float(timestep.reward)))
        state = timestep.state
    distracted, action, reward = zip(*seen, strict=True)
    until = int(np.flatnonzero(reward)[-1]) + 1
    assert sum(reward) == 2
    assert not any(distracted[:until])
    assert all(distracted[until:])
    assert list(action[:until]) == moves[:until]
    assert len(set(action[until:])) == 5


def test_both_kinds_are_shares_of_the_optimum(debug_config, tmp_path):
    env = {"name": "dark_goals", "grid_size": 3, "horizon": 12, "dark_goals": {"num_goals": 1}}
    source = {"name": "staged_search"}
    config = override(debug_config, env=env, source=source, eval={"num_seeds": 2})
    results = idle.examine(_run(config, tmp_path), "validation", 10)
    plain, at_random = (results["found"][kind] for kind in idle._KINDS)
    for shares in (plain, at_random):
        assert len(shares["sample"]["tenths"]) == 10
        assert 0 < np.mean(shares["sample"]["tenths"]) <= 1
        assert shares["sample"]["share"] == pytest.approx(shares["sample"]["tenths"][-1])
    # What comes before the first reward is the same, what comes after it is not.
    assert plain["sample"]["tenths"][0] == at_random["sample"]["tenths"][0]
    assert plain["sample"]["tenths"] != at_random["sample"]["tenths"]
    assert "at random when idle" in idle.table(results)


def test_who_can_always_earn_more_is_refused(debug_config, tmp_path):
    with pytest.raises(ConfigError, match="always has something left to earn"):
        idle.examine(_run(debug_config, tmp_path), "validation", 10)
