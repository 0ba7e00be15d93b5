"""What is measured: training, acting and collecting, each against ceilings of the same run."""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import ceilings
from benchmarks.ceilings import Ceilings
from benchmarks.measure import (
    Facts,
    forward_flops,
    product_flops,
    rate,
    share,
    spread,
    time_calls,
)
from compad_jax.backend import sharding
from compad_jax.backend.stopwatch import Stopwatch
from compad_jax.config import Config, from_dict, to_dict
from compad_jax.config.command_line import load_config
from compad_jax.envs import make_env
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.split import choose_tasks
from compad_jax.evaluation.episodes import make_episodes
from compad_jax.histories.collection import collect, load_histories
from compad_jax.histories.dataset import dataset_shapes
from compad_jax.histories.sampler import make_sampler, plan_segments
from compad_jax.models import Params, Policy, init_params, make_policy
from compad_jax.sources import make_source
from compad_jax.training.setup import Builders, TrainingSetup, set_up

_KINDS = ("compress", "uncompressed")  # Of segments.
_GRADIENT = 3  # A forward pass, and two products of the backward pass for each of its own.


class Scale(NamedTuple):
    """How much is measured; the defaults fit two CPU cores and a few minutes."""

    repeats: int = 7
    environments: int = 512
    long_environments: int = 128
    long_steps: int = 1_000_000  # Of all environments together.
    window_lengths: tuple[int, ...] = (1_000, 4_000, 16_000, 64_000)  # Of long windows, in tokens.
    matmul_size: int = 0  # 0: by the backend.
    copy_bytes: int = 2**27
    original: str = "configs/original/new.py"  # Dropout, several lengths, batches of 256.
    ppo: str = "configs/ppo_shared.py"  # PPO with hyperparameters that take seconds.


class Outcome(NamedTuple):
    """One measurement before the ceilings are final."""

    item: str  # What a rate counts.
    items: float  # Of a call.
    seconds: list[float]  # Of each call.
    compile_seconds: float  # Tracing included.
    amounts: dict[str, float]  # What a call does of what each ceiling limits.
    facts: Facts  # Whatever else there is to say.


def run_suite(name: str, config: Config, scale: Scale) -> Facts:
    """Measures one suite: the ceilings, and times, rates and shares of each measurement."""
    probes = {
        "matmul_large": ceilings.large_product(scale.matmul_size),
        "matmul_model": ceilings.model_products(config),
        "copy": ceilings.copying(scale.copy_bytes),
    }
    if name == "collect":
        probes["environment"] = ceilings.random_play(config)
    limits, outcomes = Ceilings(probes), {}
    for label, measure in SUITES[name](config, scale).items():
        print(f"{time.strftime('%H:%M:%S')} {name}: {label}", file=sys.stderr, flush=True)
        limits.sample()
        outcomes[label] = measure()
    limits.sample()
    measured = {label: _finish(outcome, limits) for label, outcome in outcomes.items()}
    return {"ceilings": limits.facts(), "measurements": measured}


def _finish(outcome: Outcome, limits: Ceilings) -> Facts:
    took, rates = spread(outcome.seconds), limits.rates()
    shares = {
        limit: share(rate(amount, took), rates[limit])._asdict()
        for limit, amount in outcome.amounts.items()
    }
    return outcome.facts | {
        "item": outcome.item,
        "items": outcome.items,
        "compile_seconds": outcome.compile_seconds,
        "seconds": took._asdict() | {"calls": len(outcome.seconds)},
        "rate": rate(outcome.items, took)._asdict(),
        "shares": shares,
    }


_Measurements = dict[str, Callable[[], Outcome]]


def _train(config: Config, scale: Scale) -> _Measurements:
    """The training step of the config, and of the original: as it is, and what it could be."""
    own = ("matmul_large", "matmul_model")
    measurements = {"step": lambda: _train_step(config, 2, scale.repeats, own)}
    if scale.original:
        original = vary(
            load_config(scale.original),
            data={"dir": f"{config.data.dir}-original"},
            # Histories that take seconds; what they say changes no time.
            source={"name": "mbie_eb"},
        )
        longest = original.data.max_compress_length, original.data.max_uncompressed_length
        equal = {f"min_{kind}_length": x for kind, x in zip(_KINDS, longest, strict=True)}
        sure = vary(original, model={"tf_dropout": 0.0, "tf_attn_dropout": 0.0})
        at_once = vary(original, train={"micro_batch_size": original.train.train_batch_size})
        steps = {
            "": original,
            " with all windows at once": at_once,
            " without dropout": sure,
            " of equal windows": vary(original, data=equal),
            " without dropout, of equal windows": vary(sure, data=equal),
        }
        for what, varied in steps.items():
            name = f"original/new step{what}"
            measurements[name] = partial(_train_step, varied, 1, 7, own[:1])
    return measurements


def _train_step(config: Config, steps: int, repeats: int, limits: tuple[str, ...]) -> Outcome:
    """Optimiser steps, so many a call, sampling and metrics included."""
    config = steps_a_call(config, steps)
    load_histories(config)  # Not while the step compiles.
    stopwatch = Stopwatch()
    setup = prepare_training(config, stopwatch)
    state, dataset, key = [setup.first_state], setup.data.train(0), jax.random.key(0)

    def call() -> Any:
        state[0], metrics = setup.train_steps(state[0], dataset, key)
        return metrics

    lengths, windows = _mean_lengths(config), steps * config.train.train_batch_size
    params = init_params(setup.policy, key)
    window = forward_flops(setup.policy, params, _segments(config), [round(x) for x in lengths])
    flops = _GRADIENT * windows * window
    program: Any = setup.train_steps
    memory = program.memory_analysis().temp_size_in_bytes
    return Outcome(
        "supervised tokens",
        windows * sum(lengths),
        time_calls(call, repeats),
        stopwatch.seconds["compile"],
        dict.fromkeys(limits, flops),
        {"steps": steps, "memory_bytes": memory, "devices": jax.device_count()},
    )


def _long(config: Config, scale: Scale) -> _Measurements:
    """The training step on whole histories, longer and longer, differentiated in pieces."""
    repeats, limits = min(3, scale.repeats), ("matmul_large", "matmul_model")

    def measure(length: int) -> Outcome:
        outcome = _train_step(_with_windows(config, length), 1, repeats, limits)
        return outcome._replace(facts=outcome.facts | {"window": length})

    return {f"windows of {n:,}": partial(measure, n) for n in scale.window_lengths}


def _with_windows(config: Config, length: int) -> Config:
    """The same training on whole histories of so many steps."""
    segment = config.data.max_uncompressed_length
    names = (f"{end}_{kind}_length" for end in ("min", "max") for kind in _KINDS)
    return vary(
        config,
        source={"num_steps": length, "num_streams": 1},
        data={
            "dir": f"{config.data.dir}-{length}",
            "whole_history": True,
            **dict.fromkeys(names, segment),
        },
        model={"bptt_depth": 16},
    )


def prepare_training(config: Config, stopwatch: Stopwatch) -> TrainingSetup:
    """Does what a training does before its first step."""
    return set_up(config, sharding.make_mesh(), Builders(), stopwatch)


def steps_a_call(config: Config, steps: int) -> Config:
    """The same training with so many optimiser steps a dispatch."""
    names = ("log_every", "checkpoint_every", "eval_every")
    longer = -(-config.train.train_timesteps // steps) * steps
    return vary(config, train=dict.fromkeys(names, steps) | {"train_timesteps": longer})


def _mean_lengths(config: Config) -> list[float]:
    """Expected number of tokens in each segment of a window."""
    plan = plan_segments(config)
    return [(a + b) / 2 for a, b in zip(plan.min_lengths, plan.max_lengths, strict=True)]


def _segments(config: Config) -> Any:
    """Shapes of a batch, [B, S, L, ...]."""
    dataset = dataset_shapes(config, make_env(config.env).spec, 1)
    return jax.eval_shape(make_sampler(config), jax.random.key(0), dataset)


def _act(config: Config, scale: Scale) -> _Measurements:
    """Acting in many environments at once, and for very long."""
    long = scale.long_steps // scale.long_environments // config.env.horizon
    return {
        "rollout": lambda: _rollout(config, scale.environments, 4, 4, scale.repeats),
        "long rollout": lambda: _rollout(config, scale.long_environments, long, 2, 3),
    }


def _rollout(
    config: Config, num_environments: int, num_episodes: int, chunk: int, repeats: int
) -> Outcome:
    """Plays as an evaluation does, half of it greedy; the policy is untrained."""
    config = vary(config, eval={"num_seeds": 1, "chunk_episodes": chunk})
    env = make_env(config.env)
    policy = make_policy(config, env.spec)
    params = init_params(policy, jax.random.key(0))
    chosen = choose_tasks(env.num_tasks, config.env.num_tasks)
    tasks = make_tasks(env, np.resize(chosen, num_environments // 2))
    play = make_episodes(config, policy, env, tasks, num_episodes)
    params = jax.device_put(params, sharding.replicated(sharding.make_mesh()))
    start = time.perf_counter()
    played = play(params)
    steps = float(num_environments * num_episodes * env.spec.horizon)
    compile_seconds = time.perf_counter() - start - steps / played.steps_per_second
    speeds = [play(params) for _ in range(repeats)]
    flops = steps * _flops_a_token(config, policy, params)
    late = spread([speed.late_to_early for speed in speeds])
    return Outcome(
        "environment steps",
        steps,
        [steps / speed.steps_per_second for speed in speeds],
        compile_seconds,
        {
            "matmul_large": flops,
            "matmul_model": flops,
            "copy": steps * _cache_bytes(policy),
        },
        {"environments": num_environments, "steps": steps, "late_to_early": late._asdict()},
    )


def _flops_a_token(config: Config, policy: Policy, params: Params) -> float:
    """Useful operations of a token that is read, and compressed where the policy compresses."""
    length = policy.compress_length if config.model.remembers else policy.window
    segments = _segments(config)
    one, two = (forward_flops(policy, params, segments, [length] * n) for n in (1, 2))
    return (two - one) / length


def _cache_bytes(policy: Policy) -> float:
    """Bytes of keys and values that a step attends to, the mean over a cycle of compressions."""
    model = policy.config
    keys = model.n_latent + policy.window - (policy.compress_length - 1) / 2
    return 2 * model.tf_n_layer * keys * model.tf_n_embd * np.dtype(policy.dtype).itemsize


def _collect(config: Config, scale: Scale) -> _Measurements:
    """The config's own source and a fast PPO, each on all goals."""
    measurements = {config.source.name: lambda: _learn(config, min(3, scale.repeats))}
    if scale.ppo:
        ppo = load_config(scale.ppo)
        measurements["ppo"] = lambda: _learn(ppo, 1)
    return measurements


def _learn(config: Config, repeats: int) -> Outcome:
    """`collect`, copies to the host included; later calls trace it again and find it compiled."""
    first, *seconds = time_calls(lambda: collect(config), 1 + repeats, warm_up=False)
    env, source = make_env(config.env), config.source
    chosen = choose_tasks(env.num_tasks, config.env.num_tasks)
    steps = float(len(chosen) * source.num_streams * source.num_steps)
    amounts = {"environment": steps}
    if source.name == "ppo":  # It neither pads nor computes anything again.
        keys = jax.random.split(jax.random.key(0), len(chosen))
        learn = jax.jit(jax.vmap(make_source(source, env)))
        traced = learn.trace(keys, make_tasks(env, chosen))
        amounts["matmul_large"] = product_flops(traced.jaxpr.jaxpr)
    compile_seconds = max(0.0, first - min(seconds))
    return Outcome("environment steps", steps, seconds, compile_seconds, amounts, {})


def vary(config: Config, **groups: dict[str, Any]) -> Config:
    """A validated copy with other values in some groups.

    Raises:
        ConfigError: an impossible combination.
    """
    values = to_dict(config)
    for group, fields in groups.items():
        values[group] |= fields
    return from_dict(values)


# Collecting comes first: a training would compile its program, too.
SUITES = {"collect": _collect, "train": _train, "long": _long, "act": _act}
