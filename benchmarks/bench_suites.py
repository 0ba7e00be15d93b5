"""What is measured: training, acting, collecting; each against ceilings of the same run."""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from benchmarks.bench_ceilings import Ceilings
from benchmarks.bench_flops import cache_bytes, product_flops
from benchmarks.bench_measure import (
    Facts,
    memory_in_use,
    rate,
    say,
    share,
    spread,
    time_calls,
)
from benchmarks.bench_programs import (
    Job,
    act_job,
    random_dataset,
    source_program,
    steps_a_call,
    train_job,
)
from compad_jax.config import Config
from compad_jax.config.command_line import load_config
from compad_jax.envs import make_env
from compad_jax.histories.collection import collect
from compad_jax.models import make_policy

_LONG_CALLS = 200  # Of the long rollout.


class Scale(NamedTuple):
    """How much is measured; the defaults fit two CPU cores and six minutes."""

    repeats: int = 7
    train_steps: int = 2  # Optimiser steps a call.
    environments: int = 512
    long_environments: int = 128
    long_steps: int = 1_000_000
    original_goals: int = 1  # That the original PPO learns; all of them would take minutes.
    matmul_size: int = 0  # 0: by the backend.
    copy_bytes: int = 2**27
    original_config: str = "configs/original/new.py"
    ppo_config: str = "configs/ppo_shared.py"  # PPO with hyperparameters that take seconds.
    sweeps: bool = True

    def make_ceilings(self, config: Config) -> Ceilings:
        """The ceilings of a suite."""
        size = self.matmul_size or (2048 if jax.default_backend() == "cpu" else 8192)
        return Ceilings(config, matmul_size=size, copy_bytes=self.copy_bytes)


class Outcome(NamedTuple):
    """One measurement before the ceilings are final."""

    facts: Facts
    seconds: list[float]  # Of each call.
    amounts: dict[str, float]  # What a call does of what each ceiling limits.


def finish(outcomes: dict[str, Outcome], ceilings: Ceilings) -> dict[str, Facts]:
    """Adds times, rates and shares of the ceilings."""
    limits = ceilings.rates()
    done = {}
    for name, (facts, seconds, amounts) in outcomes.items():
        took = spread(seconds)
        shares = {
            limit: share(rate(amount, took), limits[limit])._asdict()
            for limit, amount in amounts.items()
        }
        measured = {
            "seconds": took._asdict() | {"calls": len(seconds)},
            "rate": rate(facts["items"], took)._asdict(),
            "shares": shares,
        }
        done[name] = facts | measured
    return done


def run_job(job: Job, item: str, scale: Scale, ceilings: Ceilings) -> Outcome:
    """Times a job, with a sample of the ceilings before it."""
    ceilings.sample()
    seconds = time_calls(job.call, scale.repeats)
    facts = {
        "item": item,
        "items": job.items,
        "compile_seconds": job.program.compile_seconds,
        "useful_flops": job.useful_flops,
        "flops": job.program.counts._asdict(),
        "program_bytes": job.program.num_bytes,
    }
    limits = dict.fromkeys(("matmul_large", "matmul_model"), job.useful_flops)
    return Outcome(facts, seconds, limits)


def bench_train(config: Config, scale: Scale, ceilings: Ceilings) -> dict[str, Outcome]:
    """The training step of the config, and of the original's."""
    say("train: step")
    outcomes = {"step": _train_step(config, scale.train_steps, scale, ceilings)}
    if scale.original_config:
        say("train: original/new step")
        original = load_config(scale.original_config)
        outcomes["original/new step"] = _train_step(
            original, 1, scale._replace(repeats=3), ceilings
        )
        del outcomes["original/new step"].amounts["matmul_model"]  # That is of the config's shapes.
    return outcomes


def _train_step(config: Config, steps: int, scale: Scale, ceilings: Ceilings) -> Outcome:
    config = steps_a_call(config, steps)
    job = train_job(config, random_dataset(config))
    outcome = run_job(job, "supervised tokens", scale, ceilings)
    outcome.facts["steps"] = steps
    return outcome


def bench_act(config: Config, scale: Scale, ceilings: Ceilings) -> dict[str, Outcome]:
    """Acting in many environments at once, and for very long."""
    say("act: rollout")
    policy = make_policy(config, make_env(config.env).spec)
    job = act_job(config, scale.environments, num_episodes=4)
    outcome = run_job(job, "environment steps", scale, ceilings)
    outcome.facts["environments"] = scale.environments
    outcome.amounts["copy"] = job.items * cache_bytes(policy)
    return {"rollout": outcome, "long rollout": _long_rollout(config, scale, ceilings)}


def _long_rollout(config: Config, scale: Scale, ceilings: Ceilings) -> Outcome:
    """As many calls as the steps need; late ones should take no longer than early ones.

    The last calls alternate with the first ones of another rollout. Minutes lie between the
    two ends of one rollout, in which a machine changes more than what is to be shown.
    """
    say("act: long rollout")
    steps_a_call = scale.long_steps / scale.long_environments / _LONG_CALLS
    episodes = max(1, round(steps_a_call / config.env.horizon))
    old, young = (act_job(config, scale.long_environments, episodes) for _ in range(2))
    calls = -(-scale.long_steps // int(old.items))
    tenth = max(1, calls // 10)
    outcome = run_job(old, "environment steps", scale._replace(repeats=tenth), ceilings)
    time_calls(young.call, 0)
    before = memory_in_use()
    outcome.seconds.extend(time_calls(old.call, max(0, calls - 2 * tenth), warm_up=False))
    pairs = [_time_pair([old, young], swapped=bool(n % 2)) for n in range(tenth)]
    outcome.seconds.extend(late for late, _ in pairs)
    return outcome._replace(
        facts=outcome.facts
        | {
            "environments": scale.long_environments,
            "steps": calls * old.items,
            "late_to_early": spread([late / early for late, early in pairs])._asdict(),
            "memory_growth_bytes": memory_in_use() - before,
        }
    )


def _time_pair(jobs: list[Job], *, swapped: bool) -> list[float]:
    """Seconds of a call of each, one after the other: of each kind, half should come first."""
    order = slice(None, None, -1 if swapped else 1)
    return [time_calls(job.call, 1, warm_up=False)[0] for job in jobs[order]][order]


def bench_collect(config: Config, scale: Scale, ceilings: Ceilings) -> dict[str, Outcome]:
    """The config's own source on all goals, and PPO: the original's on few, a fast one on all."""
    ceilings.add_environment(config)
    outcomes = {config.source.name: _collect(config, scale, ceilings)}
    if scale.original_config:
        original = load_config(scale.original_config)
        outcomes["ppo of original/new"] = _learn(original, scale, ceilings)
    if scale.ppo_config and os.path.exists(scale.ppo_config):
        ppo = load_config(scale.ppo_config)
        outcomes["ppo"] = _collect(ppo, scale._replace(repeats=1), ceilings)
    return outcomes


def _collect(config: Config, scale: Scale, ceilings: Ceilings) -> Outcome:
    """`collect` on all goals, copies to the host included."""
    ceilings.sample()
    say(f"collect: {config.source.name}")
    goals = len(make_env(config.env).tasks)
    _, compile_seconds = _compile_source(config, goals)
    # It builds its program anew at every call: the later ones find it built.
    seconds = time_calls(lambda: collect(config), min(3, scale.repeats))
    return _source_outcome(config, goals, seconds, compile_seconds)


def _learn(config: Config, scale: Scale, ceilings: Ceilings) -> Outcome:
    """The source alone on the first goals."""
    ceilings.sample()
    say(f"collect: {config.source.name}, {scale.original_goals} goals")
    learn, compile_seconds = _compile_source(config, scale.original_goals)
    seconds = time_calls(learn, 1, warm_up=False)
    return _source_outcome(config, scale.original_goals, seconds, compile_seconds)


def _compile_source(config: Config, goals: int) -> tuple[Callable[[], Any], float]:
    """The source on the first goals, compiled, and the seconds that took."""
    learn, arguments = source_program(config, goals)
    start = time.perf_counter()
    compiled = learn.lower(*arguments).compile()
    return lambda: compiled(*arguments), time.perf_counter() - start


def _source_outcome(
    config: Config, goals: int, seconds: list[float], compile_seconds: float
) -> Outcome:
    """Of a source; what it multiplies is useful, since it neither pads nor recomputes."""
    steps = float(goals * config.source.num_streams * config.source.num_steps)
    learn, arguments = source_program(config, goals)
    flops = product_flops(learn.trace(*arguments).jaxpr.jaxpr)
    facts: dict[str, Any] = {
        "item": "environment steps",
        "items": steps,
        "goals": goals,
        "seconds_a_goal": spread(seconds).median / goals,
        "compile_seconds": compile_seconds,
        "useful_flops": flops,
    }
    limits = {"environment": steps}
    if config.source.name == "ppo":
        limits["matmul_large"] = flops
    return Outcome(facts, seconds, limits)
