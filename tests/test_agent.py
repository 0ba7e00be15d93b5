"""An agent acts as the evaluation does, wherever it is called from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import compad_jax
from compad_jax.agent import Agent
from compad_jax.config import ConfigError
from compad_jax.envs import make_env, protocol
from compad_jax.evaluation.rollout import init_rollout, rollout_step
from compad_jax.training.checkpoints import Checkpoints
from compad_jax.training.run_directory import claim_workdir
from tests.builders import make_model, tasks_of

_STEPS, _BATCH, _SEED = 45, 4, 5


def _evaluated(config, greedy):
    """What an evaluation's rollouts do: actions [T, B] and all that they were shown."""
    policy, params = make_model(config)
    env, smoothing = make_env(config.env), config.optimizer.label_smoothing
    tasks = tasks_of(env)[jnp.array([0, 7, 13, 24])]
    keys = jax.random.split(jax.random.key(_SEED), _BATCH)
    state = init_rollout(policy, params, env, tasks, keys, greedy, num_episodes=1)

    def step(state, _):
        after, record = rollout_step(policy, params, env, smoothing, state)
        return after, (state.seen, record.transition.action, after.acting.window)

    _, (seen, actions, window) = jax.jit(lambda s: jax.lax.scan(step, s, length=_STEPS))(state)
    assert int(window.num_compressions[-1]) > 2
    assert np.asarray(seen.done).sum(0).min() > 2
    return jax.tree.map(np.asarray, seen), np.asarray(actions)


def _agent(config):
    policy, params = make_model(config)
    return Agent(policy, params, smoothing=config.optimizer.label_smoothing)


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_actions_are_those_of_the_evaluation(debug_config, greedy, array):
    seen, expected = _evaluated(debug_config, jnp.full(_BATCH, greedy))
    agent = _agent(debug_config)
    state = agent.init(_BATCH, seed=_SEED, greedy=greedy)
    first, state = agent.step(state, array(seen.obs[0]))
    assert isinstance(first, type(array(0)))
    actions = [np.asarray(first)]
    for t in range(1, _STEPS):
        shown = jax.tree.map(lambda x, t=t: array(x[t]), seen)
        action, state = agent.step(
            state, shown.obs, shown.reward, shown.done, final_obs=shown.final_obs
        )
        actions.append(np.asarray(action))
    np.testing.assert_array_equal(actions, expected)
    assert len(np.unique(expected)) > 1


def test_the_pure_function_can_be_scanned_with_an_environment(debug_config):
    _, expected = _evaluated(debug_config, jnp.zeros(_BATCH, bool))
    agent, env = _agent(debug_config), make_env(debug_config.env)
    tasks = tasks_of(env)[jnp.array([0, 7, 13, 24])]
    act = jax.vmap(lambda k, s, a, t: protocol.step(env, k, s, a, t))

    def step(carry, key):
        state, episode, args = carry
        action, state = agent.act_fn(agent.params, state, *args)
        done = act(jax.random.split(key, _BATCH), episode, action, tasks)
        args = (done.obs, done.reward, done.done, done.next_obs)
        return (state, done.state, args), action

    def play(keys):
        episode, obs = jax.vmap(lambda t: protocol.reset(env, keys[0], t))(tasks)
        none = jnp.zeros(_BATCH)
        start = agent.init(_BATCH, seed=_SEED), episode, (obs, none, none > 0, obs)
        return jax.lax.scan(step, start, keys)[1]

    actions = jax.jit(play)(jax.random.split(jax.random.key(0), _STEPS))
    np.testing.assert_array_equal(actions, expected)  # Dark Room has no chance of its own.


def test_replaced_actions_enter_the_history(debug_config):
    agent = _agent(debug_config)
    obs, reward, done = np.array([[2, 2]]), np.zeros(1), np.zeros(1, bool)
    chosen, state = agent.step(agent.init(1, greedy=True), obs)
    plain, _ = agent.step(state, obs, reward, done)
    states = [agent.step(state, obs, reward, done, action=a)[1] for a in (chosen, (chosen + 1) % 5)]
    same, other = (np.asarray(s.window.embeddings) for s in states)
    assert (same != other).any()
    np.testing.assert_array_equal(agent.step(state, obs, reward, done, action=chosen)[0], plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 2)),), r"obs: has shape \(2, 2\), not \(3, 2\)"),
        ((np.full((3, 2), 99),), "obs: coordinates must lie in"),
        ((np.zeros((3, 2)), np.zeros(2), np.zeros(3)), r"reward: has shape \(2,\), not \(3,\)"),
        ((np.zeros((3, 2)), np.zeros(3)), "give both"),
    ],
)
def test_wrong_arrays_are_refused(debug_config, arguments, message):
    agent = _agent(debug_config)
    with pytest.raises(ValueError, match=message):
        agent.step(agent.init(3), *arguments)


def test_only_the_first_step_has_no_reward(debug_config):
    agent = _agent(debug_config)
    _, state = agent.step(agent.init(3), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="reward and done are missing"):
        agent.step(state, np.zeros((3, 2)))


def test_load_finds_the_checkpoint_that_is_asked_for(debug_config, tmp_path):
    run = str(tmp_path / "run")
    claim_workdir(debug_config, run)
    with Checkpoints(run) as checkpoints:
        for step, score in ((20, 1.0), (40, 0.0)):
            _, params = make_model(debug_config, seed=step)
            checkpoints.save(step, params, {"step": step}, score)
    for checkpoint, step in ((None, 40), ("latest", 40), ("best", 20)):
        _, params = make_model(debug_config, seed=step)
        loaded = compad_jax.load(run, checkpoint)
        jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    assert compad_jax.load(run, greedy=True).init(2).greedy.all()
    with pytest.raises(ConfigError, match="checkpoint='newest': must be latest or best"):
        compad_jax.load(run, "newest")


def test_an_unknown_run_is_one_line():
    with pytest.raises(ConfigError) as error:
        compad_jax.load("nowhere")
    assert str(error.value).startswith("'nowhere': no such agent or run; name a directory that")
    assert "\n" not in str(error.value)
