"""Exports a store of histories to HDF5, a group a task, as other programs read them.

python -m compad_jax.histories.export_hdf5 STORE --out FILE

Each group has `states`, `actions`, `rewards`, `next_states` and `dones`, steps first and streams
second, and what the store has of `log_probs`, `expert_actions` and `lengths`.
"""

import argparse
import os
from collections.abc import Iterator

import numpy as np

from compad_jax.backend import files
from compad_jax.config.checks import ConfigError, require
from compad_jax.config.command_line import one_line_errors
from compad_jax.histories.store import Store, read_origin
from compad_jax.types import History

_FIRST_NAMES = ("states", "actions", "rewards", "next_states", "dones")


def export_histories(directory: str, path: str) -> None:
    """Writes a store as an HDF5 file, task by task, whole or not at all.

    Args:
        directory: of the store, whatever made it.
        path: of the file; must not exist.

    Raises:
        ConfigError: there is no store, it is damaged, or the file is there already.
        OSError: it cannot be written.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigError("export_hdf5 needs h5py: pip install h5py, or .[hdf5]") from error
    store = Store(directory, read_origin(directory))
    require(not os.path.exists(path), f"{path}: is there already; name another")
    with files.replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for task in range(store.num_tasks):
            group = file.create_group(str(task))
            for name, array in _arrays(store.read(np.array([task]))):
                group.create_dataset(name, data=array, compression="gzip")


def _arrays(history: History) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of one task by the names of the layout, steps first."""
    optional = {"log_probs": history.log_probs, "expert_actions": history.target}
    arrays = dict(zip(_FIRST_NAMES, history.transition, strict=True)) | optional
    for name, array in arrays.items():
        if array is not None:
            yield name, np.swapaxes(np.asarray(array[0]), 0, 1)
    if history.length is not None:
        yield "lengths", np.asarray(history.length[0])


def _main() -> None:
    parser = argparse.ArgumentParser(
        "export_hdf5", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", metavar="STORE", help="a folder with a manifest.json")
    parser.add_argument("--out", required=True, metavar="FILE")
    flags = parser.parse_args()
    export_histories(flags.store, flags.out)
    print(flags.out)


if __name__ == "__main__":
    with one_line_errors():
        _main()
