"""What no environment could have made is refused, with its place."""

import re

import numpy as np
import pytest

from compad_jax.envs.protocol import Box, Discrete, EnvSpec
from compad_jax.histories.validate import find_mistake
from compad_jax.types import History, Transition

_SHAPE = (3, 2, 10)
_SPEC = EnvSpec(num_actions=5, obs_space=Discrete((9, 4)), horizon=5)
_PLACE = (2, 1, 7)


def _history():
    """Noise that an environment of the spec could have made; NumPy arrays."""
    rng = np.random.default_rng(0)
    obs = rng.integers((9, 4), size=(*_SHAPE, 2)).astype(np.int8)
    action = rng.integers(5, size=_SHAPE).astype(np.int8)
    reward = rng.normal(size=_SHAPE).astype(np.float32)
    done = np.broadcast_to(np.arange(_SHAPE[-1]) % 5 == 4, _SHAPE).copy()
    next_obs = np.where(done[..., None], obs, np.roll(obs, -1, axis=2))
    log_probs = np.log(rng.dirichlet(np.ones(5) / 2, _SHAPE)).astype(np.float16)
    log_probs[0, 0, 0] = [0, -np.inf, -np.inf, -np.inf, -np.inf]
    return History(Transition(obs, action, reward, next_obs, done), log_probs)


def _with(name, value):
    """The histories with one array replaced."""
    history = _history()
    if name == "log_probs":
        return history._replace(log_probs=value)
    return history._replace(transition=history.transition._replace(**{name: value}))


def _array(history, name):
    return (history.transition._asdict() | {"log_probs": history.log_probs})[name]


def test_good_histories_pass():
    assert find_mistake(_history(), _SPEC, _SHAPE) is None
    assert find_mistake(_history()._replace(log_probs=None), _SPEC, _SHAPE) is None


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("obs", (99, 0), "is 99; must be in [0, 9)"),
        ("obs", (0, 4), "is 4; must be in [0, 4)"),
        ("next_obs", (-1, 0), "is -1; must be in [0, 9)"),
        ("action", 7, "is 7; must be in [0, 5)"),
        ("action", -1, "is -1; must be in [0, 5)"),
        ("reward", np.nan, "is nan; must be finite"),
        ("reward", -np.inf, "is -inf; must be finite"),
        ("next_obs", (8, 3), "is [8 3]; must be the next step's obs, unless done"),
        ("log_probs", np.nan, "probabilities sum to nan; must be 1"),
        ("log_probs", np.inf, "probabilities sum to inf; must be 1"),
        ("log_probs", np.log(0.21), "probabilities sum to 1.05"),
        ("log_probs", -np.inf, "probabilities sum to 0.0; must be 1"),
    ],
)
def test_bad_values_are_named_with_their_place(name, value, text):
    history = _history()
    _array(history, name)[_PLACE] = value
    mistake = find_mistake(history, _SPEC, _SHAPE)
    assert mistake.startswith(f"{name}: task 2, stream 1, step 7: ")
    assert text in mistake
    assert "\n" not in mistake


@pytest.mark.parametrize(("dtype", "reward"), [(np.float16, np.inf), (np.float64, 1e39)])
def test_rewards_must_be_finite_in_the_type_of_the_computation(dtype, reward):
    history = _with("reward", _history().transition.reward.astype(dtype))
    assert find_mistake(history, _SPEC, _SHAPE) is None
    history.transition.reward[_PLACE] = reward
    assert "step 7: is " in find_mistake(history, _SPEC, _SHAPE)


def test_episodes_end_at_the_horizon():
    history = _history()
    history.transition.done[2, 1, 4] = False
    history.transition.next_obs[2, 1, 4] = history.transition.obs[2, 1, 5]
    assert find_mistake(history, _SPEC, _SHAPE) == (
        "done: task 2, stream 1, step 5: steps without an end of the episode are 6; must be at "
        "most the horizon, 5"
    )
    assert find_mistake(history, _SPEC._replace(horizon=10), _SHAPE) is None


def test_after_its_end_a_history_may_hold_anything_that_a_type_allows():
    history = _history()
    history.transition.next_obs[2, 1, 7] = (8, 3)
    history.transition.done[2, 1, 4:] = False
    length = np.full(_SHAPE[:2], 10)
    assert "step 4: is" in find_mistake(history._replace(length=length), _SPEC, _SHAPE)
    length[2, 1] = 5  # The last step is the last of an episode, although it says nothing.
    assert find_mistake(history._replace(length=length), _SPEC, _SHAPE) is None


@pytest.mark.parametrize("length", [0, 11])
def test_lengths_are_those_of_histories(length):
    lengths = np.full(_SHAPE[:2], 10)
    lengths[1, 1] = length
    assert find_mistake(_history()._replace(length=lengths), _SPEC, _SHAPE, first_task=7) == (
        f"length: task 8, stream 1, step 0: is {length}; must be in [1, 10]"
    )


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("action", lambda x: x[:2], r"action: has shape (2, 2, 10); must be (3, 2, 10) (tasks"),
        ("reward", lambda x: x[:, :1], "reward: has shape (3, 1, 10)"),
        ("done", lambda x: x[..., :9], "done: has shape (3, 2, 9)"),
        ("obs", lambda x: x[..., :1], "must be (3, 2, 10, 2) (tasks, streams, steps, entries)"),
        ("log_probs", lambda x: x[..., :4], "log_probs: has shape (3, 2, 10, 4)"),
        ("action", lambda x: x.astype(float), "action: has type float64; must be integers"),
        ("obs", lambda x: x.astype(float), "obs: has type float64; must be integers"),
        ("reward", lambda x: x.astype(int), "reward: has type int64; must be real numbers"),
        ("done", lambda x: x.astype(int), "done: has type int64; must be truth values"),
        ("log_probs", lambda x: x > -1, "log_probs: has type bool; must be real numbers"),
    ],
)
def test_wrong_shapes_and_types_are_named(name, change, text):
    history = _with(name, change(_array(_history(), name)))
    assert re.search(re.escape(text), find_mistake(history, _SPEC, _SHAPE))


def test_real_valued_observations_must_be_finite():
    spec = _SPEC._replace(obs_space=Box((0.0, 0.0), (1.0, 1.0)))
    assert find_mistake(_history(), spec, _SHAPE) == "obs: has type int8; must be real numbers"
    obs = np.random.default_rng(1).normal(size=(*_SHAPE, 2)).astype(np.float32)
    history = _history()
    next_obs = np.roll(obs, -1, axis=2)
    history = history._replace(transition=history.transition._replace(obs=obs, next_obs=next_obs))
    assert find_mistake(history, spec, _SHAPE) is None
    obs[(*_PLACE, 1)] = np.nan
    mistake = find_mistake(history, spec, _SHAPE)
    assert re.match(r"obs: task 2, stream 1, step 7: is \[.* nan\]; must be finite", mistake)
