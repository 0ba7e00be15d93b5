import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from compad_jax.config import PpoConfig, SourceConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs import protocol, tabular
from compad_jax.envs.dark_room import DarkRoom
from compad_jax.sources import make_source
from compad_jax.sources.ppo import make_ppo, make_samples
from compad_jax.sources.ppo_loss import Samples, ppo_loss
from compad_jax.types import History, Transition

pytestmark = pytest.mark.timeout(120)  # A deadlock on a CPU must name its test.

HORIZON, NUM_STREAMS, ROLLOUT, NUM_STEPS = 10, 16, 20, 410  # The last rollout is half a one.
ENV = DarkRoom(grid_size=5, horizon=HORIZON)
GOALS = jnp.array([(0, 0), (2, 4), (3, 1)])
NUM_SEEDS = 2
CONFIG = PpoConfig(rollout_length=ROLLOUT, batch_size=80, num_epochs=8, lr=3e-3)


@pytest.fixture(scope="module")
def train():
    """The source over seeds and tasks, as it is used: one jitted call."""
    source = make_ppo(ENV, CONFIG, num_streams=NUM_STREAMS, num_steps=NUM_STEPS)
    over_tasks = jax.vmap(source)
    over_seeds = jax.jit(jax.vmap(over_tasks, in_axes=(0, None)))

    def run(seed: int) -> History:
        keys = jax.random.split(jax.random.key(seed), (NUM_SEEDS, len(GOALS)))
        return jax.block_until_ready(over_seeds(keys, GOALS))

    return run


@pytest.fixture(scope="module")
def history(train) -> History:
    """Histories [seeds, tasks, streams, steps]."""
    return train(seed=0)


def test_shapes_over_seeds_and_tasks(history):
    leading = (NUM_SEEDS, len(GOALS), NUM_STREAMS, NUM_STEPS)
    chex.assert_shape(history.transition.obs, (*leading, 2))
    chex.assert_shape(history.transition.next_obs, (*leading, 2))
    chex.assert_shape(history.log_probs, (*leading, 5))
    chex.assert_shape(
        [history.transition.action, history.transition.reward, history.transition.done], leading
    )
    chex.assert_type(history.log_probs, jnp.float32)


def test_learns_to_collect_the_optimum(history):
    optimum = jax.vmap(lambda goal: tabular.optimal_return(ENV.tabular(goal), HORIZON))(GOALS)
    episodes = history.transition.reward.reshape(NUM_SEEDS, len(GOALS), NUM_STREAMS, -1, HORIZON)
    fraction = episodes.sum(-1).mean(axis=2) / optimum[:, None]
    last_tenth = fraction.shape[-1] // 10
    assert fraction[..., 0].mean() < 0.5
    assert fraction[..., -last_tenth:].mean() >= 0.85


def test_the_key_decides_everything(train, history):
    chex.assert_trees_all_equal(history, train(seed=0))
    other = train(seed=1)
    assert (other.transition.action != history.transition.action).any()


def test_seeds_and_streams_differ(history):
    action = np.asarray(history.transition.action)
    assert (action[0] != action[1]).any()
    assert (action[:, :, 0] != action[:, :, 1]).any()


def test_log_probs_are_normalised(history):
    total = jax.scipy.special.logsumexp(history.log_probs, axis=-1)
    np.testing.assert_allclose(total, 0, atol=1e-5)


def test_log_probs_predict_the_actions(history):
    """Over many steps the mean log-probability of the actions taken is minus the entropy."""
    entropy = -(jnp.exp(history.log_probs) * history.log_probs).sum(-1)
    np.testing.assert_allclose(history.log_prob.mean(), -entropy.mean(), atol=0.02)


def _spread_within_states(log_probs, state):
    """Largest difference between log-probabilities recorded in the same state."""
    spread = 0.0
    for index in np.unique(state):
        rows = log_probs[state == index]
        spread = max(spread, np.ptp(rows, axis=0).max())
    return spread


def test_streams_share_a_policy_that_changes_between_rollouts(history):
    seed, task = 0, 1
    log_probs = np.asarray(history.log_probs[seed, task])
    state = np.asarray(ENV.state_index(history.transition.obs[seed, task]))
    starts = range(0, NUM_STEPS, ROLLOUT)
    assert starts[-1] + ROLLOUT > NUM_STEPS  # The last rollout is trimmed.
    for start in starts:
        rollout = slice(start, start + ROLLOUT)
        assert _spread_within_states(log_probs[:, rollout], state[:, rollout]) < 1e-4
    for start in starts[1:]:
        around = slice(start - ROLLOUT, start + ROLLOUT)
        assert _spread_within_states(log_probs[:, around], state[:, around]) > 1e-2


def test_the_first_policy_is_nearly_uniform(history):
    first = history.log_probs[:, :, :, :ROLLOUT]
    np.testing.assert_allclose(jnp.exp(first), 0.2, atol=0.05)


def test_transitions_follow_the_environment_to_the_final_observation(history):
    transition = history.transition
    model = ENV.tabular(GOALS[0])
    entered = model.next_state[ENV.state_index(transition.obs), transition.action, 0]
    np.testing.assert_array_equal(ENV.state_index(transition.next_obs), entered)
    is_goal = (transition.next_obs == GOALS[None, :, None, None]).all(-1)
    np.testing.assert_array_equal(transition.reward, is_goal)


def test_episodes_end_at_the_horizon_and_start_anew(history):
    transition = jax.tree.map(np.asarray, history.transition)
    step = np.arange(NUM_STEPS)
    np.testing.assert_array_equal(
        transition.done, np.broadcast_to(step % HORIZON == HORIZON - 1, transition.done.shape)
    )
    assert (transition.obs[..., step % HORIZON == 0, :] == 2).all()
    goes_on = step[:-1] % HORIZON != HORIZON - 1
    following = transition.obs[..., 1:, :]
    np.testing.assert_array_equal(
        transition.next_obs[..., :-1, :][..., goes_on, :], following[..., goes_on, :]
    )
    last, first = transition.next_obs[..., :-1, :][..., ~goes_on, :], following[..., ~goes_on, :]
    assert (last != first).any(-1).mean() > 0.5


@dataclasses.dataclass(frozen=True)
class _Corridor:
    """Cells in a row; the right end pays `task` and is terminal."""

    length: int = 4

    @property
    def spec(self):
        return protocol.EnvSpec(2, protocol.Discrete((self.length,)), 8)

    def reset(self, key, task):
        del key, task
        cell = jnp.zeros((1,), jnp.int32)
        return cell, cell

    def step(self, key, env_state, action, task):
        cell = jnp.clip(env_state + 2 * action - 1, 0, self.length - 1)
        at_end = cell[0] == self.length - 1
        return cell, cell, jnp.where(at_end, task, 0.0), at_end


def test_learns_where_episodes_terminate_and_from_one_stream():
    config = PpoConfig(rollout_length=32, batch_size=16, num_epochs=8, lr=3e-3)
    source = jax.jit(make_ppo(_Corridor(), config, num_streams=1, num_steps=480))
    history = source(jax.random.key(0), jnp.ones(()))
    transition = jax.tree.map(lambda x: np.asarray(x[0]), history.transition)
    arrived = transition.next_obs[:, 0] == 3
    assert transition.done[arrived].all() and (transition.obs != 3).all()
    probability_right = np.exp(history.log_probs[0, -32:, 1])
    assert probability_right.mean() > 0.85


def test_a_history_shorter_than_a_rollout():
    source = make_ppo(ENV, CONFIG, num_streams=NUM_STREAMS, num_steps=3)
    history = jax.eval_shape(source, jax.random.key(0), GOALS[0])
    chex.assert_shape(history.log_probs, (NUM_STREAMS, 3, 5))


def test_samples_bootstrap_with_the_final_observation():
    """Truncated at step 1 (stream 0), terminated at step 1 (stream 1); V(s) = s."""
    obs = jnp.array([[[1], [4]], [[2], [5]], [[0], [0]]])  # [t, R, O]
    next_obs = jnp.array([[[2], [5]], [[7], [9]], [[3], [6]]])
    done = jnp.array([[False, False], [True, True], [False, False]])
    terminated = jnp.array([[False, False], [False, True], [False, False]])
    reward = jnp.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    action = jnp.array([[0, 1], [1, 1], [0, 0]])
    log_probs = jnp.log(jnp.broadcast_to(jnp.array([0.25, 0.75]), (3, 2, 2)))
    config = PpoConfig(discount=0.5, gae_lambda=0.5)
    history = History(Transition(obs, action, reward, next_obs, done), log_probs)

    samples = make_samples(lambda obs: (None, obs[..., 0] * 1.0), history, terminated, config)

    # Deltas of stream 0: 1 - 1, 2 + 3.5 - 2, 4 + 1.5; of stream 1: 1 + 2.5 - 4, 3 - 5, 5 + 3.
    advantage = np.array([[0.25 * 3.5, -0.5 + 0.25 * -2], [3.5, -2], [5.5, 8]])
    np.testing.assert_allclose(samples.advantage, advantage)
    np.testing.assert_allclose(samples.target, advantage + obs[..., 0])
    np.testing.assert_allclose(jnp.exp(samples.log_prob), [[0.25, 0.75], [0.75, 0.75], [0.25] * 2])


def _samples_for_loss():
    """Four samples of two actions: ratios 1.5, 0.5, 1.5, 0.5 and advantages +, +, -, -."""
    probability = np.array([0.6, 0.2, 0.6, 0.2])
    old = np.array([0.4, 0.4, 0.4, 0.4])
    samples = Samples(
        obs=jnp.zeros((4, 1), jnp.int32),
        action=jnp.array([0, 1, 1, 0]),
        log_prob=jnp.log(old),
        advantage=jnp.array([3.0, 3.0, 1.0, 1.0]),
        target=jnp.array([1.0, 2.0, 3.0, 4.0]),
    )
    both = np.stack([probability, 1 - probability], axis=-1)
    both[[1, 2]] = both[[1, 2], ::-1]
    return jnp.log(both), samples


def test_loss_by_hand():
    log_probs, samples = _samples_for_loss()
    config = PpoConfig(clip=0.2, value_weight=0.5, entropy_weight=0.1)
    # Mean 2 and sample deviation sqrt(4 / 3): normalised advantages +-a.
    a = (3 / 4) ** 0.5
    surrogate = (1.2 * a + 0.5 * a - 1.5 * a - 0.8 * a) / 4
    value_error = (1 + 4 + 9 + 16) / 4
    p, q = np.array([0.6, 0.4]), np.array([0.2, 0.8])
    entropy = -(p @ np.log(p) + q @ np.log(q)) / 2
    expected = -surrogate + 0.5 * value_error - 0.1 * entropy
    np.testing.assert_allclose(
        ppo_loss(log_probs, jnp.zeros(4), samples, config), expected, rtol=1e-5
    )


def test_loss_stops_pushing_beyond_the_clip():
    log_probs, samples = _samples_for_loss()
    config = PpoConfig(clip=0.2, value_weight=0.0, entropy_weight=0.0)
    gradient = jax.grad(ppo_loss)(log_probs, jnp.zeros(4), samples, config)
    taken = jnp.take_along_axis(gradient, samples.action[:, None], axis=-1)[:, 0]
    # Already likelier and good, or rarer and bad: nothing more to gain.
    np.testing.assert_allclose(taken[jnp.array([0, 3])], 0, atol=1e-7)
    assert taken[1] < 0 < taken[2]


@pytest.mark.parametrize("batch_size", [7, 1, 640])
def test_refuses_minibatches_that_do_not_divide_a_rollout(batch_size):
    config = SourceConfig(
        name="ppo",
        num_streams=16,
        ppo=PpoConfig(rollout_length=20, batch_size=batch_size),
    )
    with pytest.raises(ConfigError) as error:
        make_source(config, ENV)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"source.ppo.batch_size={batch_size}: ")
    assert message.endswith("16 * 20 = 320")


def test_learners_divide_the_streams_and_know_nothing_of_each_other():
    learners, streams, steps = 3, 2, ROLLOUT + 10
    config = dataclasses.replace(
        CONFIG, num_learners=learners, num_epochs=1, batch_size=streams * ROLLOUT
    )
    one = dataclasses.replace(config, num_learners=1)
    together = jax.jit(make_ppo(ENV, config, num_streams=learners * streams, num_steps=steps))
    alone = jax.jit(make_ppo(ENV, one, num_streams=streams, num_steps=steps))
    history = together(jax.random.key(0), GOALS[0])
    chex.assert_shape(history.log_probs, (learners * streams, steps, ENV.spec.num_actions))
    for index, key in enumerate(jax.random.split(jax.random.key(0), learners)):
        own = slice(index * streams, (index + 1) * streams)
        part = jax.tree.map(lambda x, own=own: x[own], history)
        expected = alone(key, GOALS[0])
        chex.assert_trees_all_equal(part.transition, expected.transition)
        chex.assert_trees_all_close(part.log_probs, expected.log_probs, atol=1e-5)


def test_refuses_learners_that_do_not_divide_the_streams():
    refusal = r"^source\.ppo\.num_learners=3: must divide source\.num_streams = 16$"
    with pytest.raises(ConfigError, match=refusal):
        make_ppo(ENV, dataclasses.replace(CONFIG, num_learners=3), num_streams=16, num_steps=20)


def test_is_registered():
    config = SourceConfig(name="ppo", num_streams=3, num_steps=90, ppo=PpoConfig(batch_size=20))
    history = jax.eval_shape(make_source(config, ENV), jax.random.key(0), GOALS[0])
    chex.assert_shape(history.transition.action, (3, 90))
