"""What a store of imported histories must hold."""

import numpy as np

from compad_jax.config import Config
from compad_jax.histories.store import read_origin, read_store
from tests.builders import override
from tests.histories import foreign

ENV = {"grid_size": foreign.GRID, "horizon": foreign.HORIZON}
CONFIG = override(Config(), env=ENV)


def read_imported(store):
    """The histories of a store, whatever made them."""
    return read_store(store, read_origin(store))


def expected_of(name):
    """An array of all tasks, streams first: [G, R, T, ...]."""
    tasks = [foreign.of_task(task)[name] for task in range(foreign.NUM_TASKS)]
    return np.swapaxes(np.array(tasks), 1, 2)


def require_all_steps(store, but=()):
    """The steps of a store, once all but some of their arrays are those of the file."""
    steps = read_imported(store).transition
    foreign_names = ("states", "actions", "rewards", "next_states", "dones")
    for name, foreign_name in zip(steps._fields, foreign_names, strict=True):
        if name not in but:
            np.testing.assert_array_equal(getattr(steps, name), expected_of(foreign_name), name)
    return steps
