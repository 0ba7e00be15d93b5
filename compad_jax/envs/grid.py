"""The square grid that the dark rooms share: its moves, its walls and where an episode starts."""

import jax
import jax.numpy as jnp
import numpy as np

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
