"""What so many transitions need, from what was measured: disk, network, time, devices.

    python -m experiments.scaling_arithmetic data/STORE

It measures the bytes of a transition in a store and writes `results/scaling/store.json`; the
table itself is made by `experiments.docs_tables` from that file and the benchmark's results.
"""

import argparse
import math
import os
from typing import Any

import numpy as np

from benchmarks.tables import read_results
from compad_jax.backend.files import parse_json, write_json
from compad_jax.backend.provenance import describe_commit
from compad_jax.config.command_line import one_line_errors
from compad_jax.histories.store import Store, read_origin, to_arrays
from compad_jax.reports.tables import markdown_table

STORE = "results/scaling/store.json"
_CPU, _GPU = "results/bench/cpu.json", "results/bench/gpu.json"
_TRANSITIONS = (10**6, 10**8, 10**10, 10**12)
_DAY = 86_400.0
_HOST = 8  # GPUs.


def measure_store(directory: str) -> dict[str, Any]:
    """Bytes of a transition on disk and in memory.

    Args:
        directory: of a store.

    Returns:
        What `results/scaling/store.json` holds.
    """
    store = Store(directory, read_origin(directory))
    arrays = to_arrays(store.read(np.array([0])))  # Of the first task.
    of_a_task = arrays["action"].size
    number = of_a_task * store.num_tasks
    files = (os.path.join(where, name) for where, _, names in os.walk(directory) for name in names)
    return {
        "store": os.path.basename(os.path.normpath(directory)),
        "transitions": number,
        "bytes_on_disk": sum(map(os.path.getsize, files)) / number,
        "bytes_in_memory": sum(x.nbytes for x in arrays.values()) / of_a_task,
        "commit": describe_commit(),
    }


def arithmetic_table() -> str:
    """A row a size; every number is a quotient of measured ones."""
    store = parse_json(_read(STORE))
    cpu, gpu = (read_results(path)["suites"] for path in (_CPU, _GPU))
    collected = cpu["collect"]["measurements"]["mbie_eb"]["rate"]["median"]
    trained = gpu["train"]["measurements"]["step"]["rate"]["median"]
    rows = [
        {
            "transitions": f"10^{round(math.log10(number))}",
            "on disk": _bytes(number * store["bytes_on_disk"]),
            "collecting, two CPU cores": _time(number / collected),
            "one epoch, one GPU": _time(number / trained),
            "one epoch, 8 GPUs": _time(number / trained / _HOST),
            "hosts of 8 GPUs for an epoch a day": math.ceil(number / trained / _HOST / _DAY),
            "hosts of 2 CPU cores to collect it in a day": math.ceil(number / collected / _DAY),
        }
        for number in _TRANSITIONS
    ]
    return (
        f"{markdown_table(rows)}\n\nFrom {store['bytes_on_disk']:.1f} bytes a transition on disk "
        f"({store['bytes_in_memory']:.0f} unpacked; {store['store']}, commit {store['commit']}), "
        f"{collected / 1e6:.2f} million transitions/s collected on two CPU cores and "
        f"{trained / 1e6:.2f} million tokens/s trained on one NVIDIA H200. A GPU then reads "
        f"{_bytes(trained * store['bytes_on_disk'])} a second, if all histories are streamed."
    )


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _bytes(number: float) -> str:
    """With the largest unit of which there is at least one."""
    power = min(4, int(math.log10(number) / 3))
    return f"{number / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _time(seconds: float) -> str:
    """Likewise."""
    for unit, size in (("days", _DAY), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} seconds"


def main() -> None:
    """Measures a store."""
    parser = argparse.ArgumentParser(prog="python -m experiments.scaling_arithmetic")
    parser.add_argument("store", help="directory of a store")
    with one_line_errors():
        measured = measure_store(parser.parse_args().store)
    os.makedirs(os.path.dirname(STORE), exist_ok=True)
    write_json(STORE, measured, indent=1)
    print(f"{STORE}: {measured['bytes_on_disk']:.2f} bytes a transition on disk")


if __name__ == "__main__":
    main()
