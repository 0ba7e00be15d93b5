"""The square grid that the dark rooms share: its moves, its walls and where an episode starts."""

import jax
import jax.numpy as jnp
import numpy as np

from compad_jax.config import EnvConfig
from compad_jax.config.checks import require

# Down, up, right, left, stay; as changes of (row, column).
_MOVES = np.array([(1, 0), (-1, 0), (0, 1), (0, -1), (0, 0)], np.int32)
NUM_MOVES = len(_MOVES)


def move(cell: jax.Array, action: jax.Array, grid_size: int) -> jax.Array:
    """The cell that a move leads to; walls stop: int [2] (row, column) and int [] -> int [2]."""
    return jnp.clip(cell + jnp.asarray(_MOVES)[action], 0, grid_size - 1)


def next_cells(grid_size: int) -> np.ndarray:
    """Where every move leads from every cell: the map, int [cells, A] in row-major order."""
    cells = np.indices((grid_size, grid_size), np.int32).reshape(2, -1).T
    after = np.clip(cells[:, None] + _MOVES, 0, grid_size - 1)
    return after[..., 0] * grid_size + after[..., 1]


def cell_number(cell: jax.Array, grid_size: int) -> jax.Array:
    """Row * grid_size + column: int [..., 2] -> int [...]."""
    return cell[..., 0] * grid_size + cell[..., 1]


def require_reachable(config: EnvConfig, *, only_last: bool = False) -> None:
    """Raises a ConfigError if an episode is too short for a goal: its task could teach nothing.

    With `only_last`, goals lie in the last row and column only.
    """
    grid_size, horizon, start = config.grid_size, config.horizon, config.start
    first = grid_size // 2 if start == "center" else 0
    after = grid_size - 1 - first  # Rows, or columns, from the start to the last one.
    # A random start is sometimes beside the goal; who stands on it already needs a step.
    farthest = 1 if start == "random" else max(1, 2 * (after if only_last else max(first, after)))
    require(
        horizon >= farthest,
        f"env.horizon={horizon}: too short for some goals; must be at least {farthest} with "
        f"env.grid_size={grid_size} and env.start={start!r}",
    )


def first_cell(key: jax.Array, grid_size: int, start: str) -> jax.Array:
    """Draws where an episode starts: int [2]; see `EnvConfig.start`."""
    if start == "random":
        return jax.random.randint(key, (2,), 0, grid_size)
    return jnp.full((2,), grid_size // 2 if start == "center" else 0, jnp.int32)


def first_cell_probabilities(grid_size: int, start: str) -> np.ndarray:
    """The distribution of `first_cell`, float [cells]."""
    num_cells = grid_size**2
    if start == "random":
        return np.full(num_cells, 1 / num_cells, np.float32)
    first = grid_size // 2 if start == "center" else 0
    return np.eye(num_cells, dtype=np.float32)[first * grid_size + first]
