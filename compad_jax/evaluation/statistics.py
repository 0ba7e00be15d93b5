"""What an evaluation found: the numbers and their confidence intervals."""

from typing import Any, NamedTuple

import jax
import numpy as np

_NUM_BOOTSTRAP = 2000


class Returns(NamedTuple):
    """Outcome of an evaluation for one way of selecting actions."""

    returns: np.ndarray  # float [E, G, R], of each episode.
    optimum: np.ndarray | None  # float [G]; None: not known.


class Source(NamedTuple):
    """What the source earned on the same tasks while it learned; None: it finished no episode."""

    curve: np.ndarray  # float [episodes, G, R], those that every stream finished.
    mean_return: float | None  # Of all its episodes.
    final_mean_return: float | None  # Of the last tenth of each stream's episodes.


def no_source(num_tasks: int) -> Source:
    """Where the histories are not at hand."""
    return Source(np.zeros((0, num_tasks, 1)), None, None)


def fractions(returns: np.ndarray, optimum: np.ndarray | None) -> np.ndarray | None:
    """Returns, float [..., G, R], divided by the optimum, float [G].

    Float [..., G', R], of the tasks whose optimum is positive; None where there is none.
    """
    if optimum is None or not (optimum > 0).any():
        return None
    return returns[..., optimum > 0, :] / optimum[optimum > 0, None]


def mean_fraction(returns: np.ndarray, optimum: np.ndarray | None) -> float | None:
    """Mean share of the optimum; see `fractions`."""
    shares = fractions(returns, optimum)
    return None if shares is None else float(shares.mean())


def summarise(outcome: Returns, tasks: Any, source: Source) -> dict[str, Any]:
    """The numbers that judge an evaluation of tasks [G, ...]; None stands for what is not known.

    Returns:
        Part of `summary.json`. "Final" is the last tenth of the episodes.
    """
    returns, optimum = outcome
    final = returns[-_tenth(len(returns)) :].mean(0)
    mean_return, final_return = float(returns.mean()), float(final.mean())
    return {
        "mean_return": mean_return,
        "mean_return_ci95": bootstrap(returns.mean(0)).tolist(),
        "final_mean_return": final_return,
        "final_mean_return_ci95": bootstrap(final).tolist(),
        "source_mean_return": source.mean_return,
        "source_final_mean_return": source.final_mean_return,
        "share_of_source_return": _share(mean_return, source.mean_return),
        "final_share_of_source_return": _share(final_return, source.final_mean_return),
        **_against_optimum(outcome, final, source),
        "per_task": [
            {
                "task": _as_json(jax.tree.map(lambda x, i=i: np.asarray(x)[i], tasks)),
                "optimum": None if optimum is None else float(optimum[i]),
                "mean_return": float(returns[:, i].mean()),
                "final_mean_return": float(final[i].mean()),
                "final_fraction_of_optimum": mean_fraction(
                    final[i : i + 1], None if optimum is None else optimum[i : i + 1]
                ),
            }
            for i in range(len(final))
        ],
    }


def _against_optimum(outcome: Returns, final: np.ndarray, source: Source) -> dict[str, Any]:
    """Shares of the optimum over the tasks that have one, and the regret of an episode."""
    returns, optimum = outcome
    shares, final_shares = fractions(returns, optimum), fractions(final, optimum)
    mean_optimum = None if optimum is None else float(optimum.mean())
    first_of_source = float(source.curve[0].mean()) if len(source.curve) else None
    reached = None if shares is None else shares.mean((1, 2)) >= 0.9
    return {
        "optimum_mean": mean_optimum,
        "num_tasks_without_share": len(final) - (0 if final_shares is None else len(final_shares)),
        "regret": _minus(mean_optimum, float(returns.mean())),
        "first_regret": _minus(mean_optimum, float(returns[0].mean())),
        "final_regret": _minus(mean_optimum, float(final.mean())),
        "source_regret": _minus(mean_optimum, source.mean_return),
        "source_first_regret": _minus(mean_optimum, first_of_source),
        "fraction_of_optimum": None if shares is None else float(shares.mean()),
        "final_fraction_of_optimum": mean_fraction(final, optimum),
        "final_fraction_ci95": None if final_shares is None else bootstrap(final_shares).tolist(),
        "episodes_to_90_percent": int(reached.argmax()) + 1
        if reached is not None and reached.any()
        else None,
    }


def bootstrap(values: np.ndarray) -> np.ndarray:
    """95% confidence interval of a mean over tasks x seeds, float [..., G, R].

    Tasks are drawn with replacement, then seeds within each task drawn: the seeds of a
    task resemble each other, so they must not count as independent.

    Returns:
        Low and high, float [2, ...].
    """
    rng = np.random.default_rng(0)
    num_tasks, num_seeds = values.shape[-2:]
    task = rng.integers(num_tasks, size=(_NUM_BOOTSTRAP, num_tasks, 1))
    seed = rng.integers(num_seeds, size=(_NUM_BOOTSTRAP, num_tasks, num_seeds))
    means = np.stack([values[..., t, s].mean((-2, -1)) for t, s in zip(task, seed, strict=True)])
    return np.quantile(means, [0.025, 0.975], axis=0)


def source_returns(reward: np.ndarray, done: np.ndarray) -> Source:
    """Adds up the finished episodes of histories, whatever their lengths.

    Rewards are float [G, R, T]; `done`, bool [G, R, T], is true where an episode ended.
    """
    num_steps = reward.shape[-1]
    streams = list(map(_finished, reward.reshape(-1, num_steps), done.reshape(-1, num_steps)))
    shortest = min(map(len, streams))
    curve = np.stack([x[:shortest] for x in streams], -1).reshape(shortest, *reward.shape[:2])
    streams = [x for x in streams if len(x)]
    if not streams:
        return Source(curve, None, None)
    final = [x[-_tenth(len(x)) :].mean() for x in streams]
    return Source(curve, float(np.mean([x.mean() for x in streams])), float(np.mean(final)))


def _finished(reward: np.ndarray, done: np.ndarray) -> np.ndarray:
    """Returns of the finished episodes of one stream, float [episodes]."""
    last = np.flatnonzero(done)
    total = np.cumsum(reward, dtype=np.float64)[last]
    return np.diff(total, prepend=0.0)


def _tenth(number: int) -> int:
    return max(1, number // 10)


def _share(value: float, whole: float | None) -> float | None:
    return value / whole if whole is not None and whole > 0 else None


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _as_json(task: Any) -> Any:
    """A task as lists and, where it has names, dictionaries."""
    if hasattr(task, "_asdict"):
        task = task._asdict()
    if hasattr(task, "__dataclass_fields__"):
        task = {name: getattr(task, name) for name in task.__dataclass_fields__}
    if isinstance(task, dict):
        return {str(name): _as_json(value) for name, value in task.items()}
    if isinstance(task, list | tuple):
        return [_as_json(value) for value in task]
    return np.asarray(task).tolist()
