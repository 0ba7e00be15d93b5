"""The split of tasks: disjoint, complete, drawn from its seed alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compad_jax.config import EnvConfig
from compad_jax.config.checks import ConfigError
from compad_jax.envs.split import choose_tasks, split_tasks


def test_sizes_of_the_paper_room():
    split = split_tasks(81, EnvConfig())
    assert len(split.train) + len(split.validation) == 73
    assert len(split.validation) == 4
    assert len(split.held_out) == 8


@settings(deadline=None, derandomize=True)
@given(
    num_tasks=st.integers(1, 200),
    ratio=st.floats(0, 1, exclude_max=True),
    validation=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**31),
)
def test_disjoint_complete_or_refused(num_tasks, ratio, validation, seed):
    config = EnvConfig(split_seed=seed, train_env_ratio=ratio, validation_ratio=validation)
    num_seen = round(num_tasks * ratio)
    num_validation = max(1, round(num_seen * validation))
    sizes = (num_seen - num_validation, num_validation, num_tasks - num_seen)
    if min(sizes) < 1:
        with pytest.raises(ConfigError, match="empty part"):
            split_tasks(num_tasks, config)
        return
    split = split_tasks(num_tasks, config)
    assert tuple(len(part) for part in split) == sizes
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(num_tasks))
    for part in split:
        np.testing.assert_array_equal(part, np.sort(part))
    for part, again in zip(split, split_tasks(num_tasks, config), strict=True):
        np.testing.assert_array_equal(part, again)


def test_seed_decides():
    held_out = {tuple(split_tasks(81, EnvConfig(split_seed=s)).held_out) for s in range(10)}
    assert len(held_out) == 10


def test_held_out_tasks_do_not_depend_on_the_validation_share():
    """Runs with other validation shares stay comparable."""
    parts = [split_tasks(81, EnvConfig(validation_ratio=ratio)) for ratio in (0.05, 0.3)]
    np.testing.assert_array_equal(parts[0].held_out, parts[1].held_out)
    assert len(parts[0].validation) < len(parts[1].validation)


@pytest.mark.parametrize(
    "changes",
    [{"train_env_ratio": 0.0}, {"train_env_ratio": 0.999}, {"validation_ratio": 0.999}],
)
def test_empty_part_is_refused(changes):
    with pytest.raises(ConfigError, match=r"env\.train_env_ratio=.*81 tasks leave an empty part"):
        split_tasks(81, EnvConfig(**changes))


def test_tasks_of_a_huge_family_are_chosen_without_listing_it():
    chosen = choose_tasks(2**31 - 1, 4000)
    assert len(np.unique(chosen)) == 4000
    assert chosen.max() > 2**30
    np.testing.assert_array_equal(chosen, np.sort(chosen))
    np.testing.assert_array_equal(chosen, choose_tasks(2**31 - 1, 4000))


def test_all_tasks_of_a_huge_family_are_refused():
    with pytest.raises(ConfigError, match=r"env\.num_tasks=0: must say how many of .* 2147483647"):
        choose_tasks(2**31 - 1, 0)


def test_chosen_tasks_are_of_the_family():
    np.testing.assert_array_equal(choose_tasks(81, 0), np.arange(81))
    np.testing.assert_array_equal(choose_tasks(81, 81), np.arange(81))
    assert set(choose_tasks(6561, 1000)) <= set(range(6561))
    with pytest.raises(ConfigError, match=r"env\.num_tasks=82: the family has only 81 tasks"):
        choose_tasks(81, 82)
