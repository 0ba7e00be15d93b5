"""Training histories that stay in their store, read a few steps ahead of the training."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np

from compad_jax.histories.dataset import Dataset

DrawRows = Callable[[int], np.ndarray]  # First step of a dispatch -> rows, int [steps, B].
ReadRows = Callable[[np.ndarray], Dataset]  # Rows [steps, B] -> their histories, on the devices.


class StreamedHistories:
    """The histories of one dispatch after the other, as functions of its first step.

    Which ones they are follows from the step alone, so that a resumed training needs no position
    and reads what an uninterrupted one would. While a dispatch trains, a thread reads for the
    next one; two dispatches are in memory at most.
    """

    def __init__(self, draw_rows: DrawRows, read_rows: ReadRows, steps_a_dispatch: int) -> None:
        """What is read, and how; nothing is read yet."""
        self._draw_rows, self._read_rows = draw_rows, read_rows
        self._steps = steps_a_dispatch
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read histories")
        self._ahead: tuple[int, Future[Dataset]] | None = None

    def __call__(self, step: int) -> Dataset:
        """The histories of the dispatch that begins at a step, leading axes [steps, B].

        Raises:
            ConfigError: the store is damaged.
        """
        if self._ahead and self._ahead[0] == step:
            dataset = self._ahead[1].result()
        else:
            dataset = self._read(step)
        self._ahead = step + self._steps, self._reader.submit(self._read, step + self._steps)
        return dataset

    def close(self) -> None:
        """Waits for what is being read ahead, which nobody will ask for."""
        self._reader.shutdown()

    def _read(self, step: int) -> Dataset:
        return jax.block_until_ready(self._read_rows(self._draw_rows(step)))
