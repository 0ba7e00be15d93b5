"""Which episodes are long enough for every goal of a dark room."""

import itertools

import pytest

from compad_jax.config import ConfigError, DarkGoalsConfig, EnvConfig
from compad_jax.envs import make_env


def _steps_needed(size, start, goals):
    """Fewest steps to the farthest goal, found cell by cell; at least one, as rewards are paid
    for steps."""
    cells = list(itertools.product(range(size), repeat=2))
    firsts = {"center": [(size // 2, size // 2)], "corner": [(0, 0)], "random": cells}[start]

    def distance(goal):
        return max(1, min(abs(goal[0] - i) + abs(goal[1] - j) for i, j in firsts))

    return max(map(distance, goals(cells)))


@pytest.mark.parametrize("size", [1, 2, 5, 6])
@pytest.mark.parametrize("start", ["center", "corner", "random"])
@pytest.mark.parametrize(
    ("name", "goals"),
    [
        ("dark_room", lambda cells: cells),
        ("dark_key_to_door", lambda cells: cells),
        ("dark_goals", lambda cells: cells),
        ("dark_room_permuted", lambda cells: cells[-1:]),
    ],
)
def test_an_episode_must_be_long_enough_for_every_goal(name, goals, size, start):
    needed = _steps_needed(size, start, goals)
    settings = {"name": name, "grid_size": size, "start": start}
    own = {"dark_goals": DarkGoalsConfig(num_goals=3)}
    make_env(EnvConfig(**settings, **own, horizon=needed))
    if needed > 1:
        message = f"^env.horizon={needed - 1}: too short .* at least {needed} with env.grid_size="
        with pytest.raises(ConfigError, match=message):
            make_env(EnvConfig(**settings, **own, horizon=needed - 1))
