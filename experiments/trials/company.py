"""Company: several processes on one run directory at the same time."""

import time

import numpy as np

from experiments.trials.programs import Bench, wait
from experiments.trials.trial import Trial


def start_together(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Starts the same training twice or three times, with little time between."""
    folder, processes = bench.new_folder(), []
    for _ in range(2 + number % 2):
        processes.append(bench.start(folder))
        time.sleep(rng.uniform(0, 3.0))
    ended = [wait(process) for process in processes]
    codes = sorted(e.code for e in ended)
    refusals = [e for e in ended if e.code]
    survived = (
        codes == [0] + [2] * (len(ended) - 1)
        and all(e.refused for e in refusals)
        and bench.same_result(folder)
    )
    how = f"exit codes {', '.join(map(str, codes))}; {refusals[0].last_line if refusals else ''}"
    return Trial("started together", f"{len(ended)} trainings", survived, how)


def evaluate_beside(bench: Bench, rng: np.random.Generator, number: int) -> Trial:
    """Evaluates a run again and again while it is being trained."""
    folder = bench.new_folder()
    training, evaluations = bench.start(folder), []
    while training.poll() is None:
        evaluations.append(bench.run(folder, "eval_main.py", "--config.eval.split=validation"))
    ended = wait(training)
    well = [e for e in evaluations if e.code == 0 or e.refused]
    same = ended.code == 0 and bench.same_result(folder)
    how = f"{len(evaluations)} evaluations; " + ("same result" if same else ended.last_line)
    return Trial("evaluated meanwhile", "", same and len(well) == len(evaluations), how)
