"""The results file of the benchmark."""

import json

from benchmarks.bench_measure import Facts
from compad_jax.config.checks import ConfigError

FORMAT = 1  # Of the results file.


def write_results(results: Facts, path: str) -> None:
    """Writes a results file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


def read_results(path: str) -> Facts:
    """Reads what `write_results` wrote.

    Raises:
        ConfigError: there is no such file, or it holds something else.
    """
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise ConfigError(f"{path}: not a results file of this benchmark (format {FORMAT})")
    return results
