"""What the machine can do: the speeds that all others are held against."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.measure import Facts, Spread, rate, spread, time_calls
from compad_jax.backend import sharding
from compad_jax.config import Config
from compad_jax.envs import make_env, protocol
from compad_jax.envs.protocol import make_tasks
from compad_jax.envs.split import choose_tasks
from compad_jax.models import make_policy

_SEGMENTS = 16  # Of the products of the model's shapes.


class Probe(NamedTuple):
    """A computation whose speed is a ceiling."""

    call: Callable[[], Any]
    amount: float  # That a call does.
    unit: str  # Of the amount, a second.
    shapes: str  # For readers.


class Ceilings:
    """Probes that are timed again and again between the measurements.

    A share of a ceiling compares two speeds of the same minutes, so that a slower machine,
    or one that others use, moves both.
    """

    def __init__(self, probes: dict[str, Probe]) -> None:
        """Takes the probes by their names."""
        self._probes = probes
        self._seconds: dict[str, list[float]] = {name: [] for name in probes}

    def sample(self, repeats: int = 3) -> None:
        """Times every probe a few more times."""
        for name, probe in self._probes.items():
            self._seconds[name] += time_calls(probe.call, repeats)

    def rates(self) -> dict[str, Spread]:
        """The ceilings over all samples so far."""
        return {
            name: rate(probe.amount, spread(self._seconds[name]))
            for name, probe in self._probes.items()
        }

    def facts(self) -> dict[str, Facts]:
        """For the results file."""
        return {
            name: {
                "rate": value._asdict(),
                "unit": self._probes[name].unit,
                "shapes": self._probes[name].shapes,
                "samples": len(self._seconds[name]),
            }
            for name, value in self.rates().items()
        }


def large_product(size: int) -> Probe:
    """A product large enough to keep every core, or the accelerator, busy.

    Args:
        size: of the square matrix; 0: by the backend.
    """
    on_cpu, mesh = jax.default_backend() == "cpu", sharding.make_mesh()
    size, dtype = size or (2048 if on_cpu else 8192), jnp.float32 if on_cpu else jnp.bfloat16
    rows = size * mesh.size
    left = jax.device_put(jnp.ones((rows, size), dtype), sharding.split_batch(mesh))
    right = jax.device_put(jnp.ones((size, size), dtype), sharding.replicated(mesh))
    product = jax.jit(lambda a, b: a @ b)
    shapes = f"{jnp.dtype(dtype).name}, [{rows}, {size}] x [{size}, {size}]"
    return Probe(lambda: product(left, right), 2.0 * rows * size * size, "flop/s", shapes)


def model_products(config: Config) -> Probe:
    """A decoder layer's products with weights, segment after segment, nothing in between."""
    mesh, policy = sharding.make_mesh(), make_policy(config, make_env(config.env).spec)
    width, wide, dtype = config.model.tf_n_embd, config.model.tf_dim_feedforward, policy.dtype
    rows = config.train.train_batch_size * (config.model.n_latent + policy.window)
    x = jnp.ones((_SEGMENTS, rows, width), dtype)
    x = jax.device_put(x, NamedSharding(mesh, PartitionSpec(None, "data")))
    shapes = [(width, 3 * width), (width, width), (width, wide), (wide, width)]
    weights = [jnp.full(shape, 1e-3, dtype) for shape in shapes]
    weights = jax.device_put(weights, sharding.replicated(mesh))

    def layer(x: jax.Array, weights: list[jax.Array]) -> Any:
        qkv, out, up, down = weights
        return x @ qkv, (x @ out) @ up @ down

    run = jax.jit(lambda x, weights: jax.lax.map(lambda s: layer(s, weights), x))
    flops = 2.0 * _SEGMENTS * rows * sum(a * b for a, b in shapes)
    text = ", ".join(f"[{a}, {b}]" for a, b in shapes)
    return Probe(lambda: run(x, weights), flops, "flop/s", f"{dtype.name}, [{rows}, k] x {text}")


def copying(num_bytes: int) -> Probe:
    """Reads and writes an array of so many bytes in place."""
    mesh = sharding.make_mesh()
    size = num_bytes // 4 // mesh.size * mesh.size
    holder = [jax.device_put(jnp.zeros(size, jnp.float32), sharding.split_batch(mesh))]
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def call() -> jax.Array:
        holder[0] = add(holder[0])
        return holder[0]

    shapes = f"float32, {4 * size / 2**20:.0f} MiB read and written"
    return Probe(call, 2.0 * 4 * size, "byte/s", shapes)


def random_play(config: Config) -> Probe:
    """The environments of all histories of a source, with random actions and no learner."""
    env, source = make_env(config.env), config.source
    chosen = choose_tasks(env.num_tasks, config.env.num_tasks)
    tasks = make_tasks(env, np.repeat(chosen, source.num_streams))
    num_steps = min(source.num_steps, 2 * env.spec.horizon)

    def play(key: jax.Array, task: Any) -> jax.Array:
        def act(
            state: protocol.EpisodeState, key: jax.Array
        ) -> tuple[protocol.EpisodeState, jax.Array]:
            action_key, step_key = jax.random.split(key)
            action = jax.random.randint(action_key, (), 0, env.spec.num_actions)
            timestep = protocol.step(env, step_key, state, action, task)
            return timestep.state, timestep.reward

        state, _ = protocol.reset(env, key, task)
        return jax.lax.scan(act, state, jax.random.split(key, num_steps))[1].sum()

    keys = jax.random.split(jax.random.key(0), len(chosen) * source.num_streams)
    run = jax.jit(jax.vmap(play))
    shapes = f"{len(keys)} environments, {num_steps} steps each"
    amount = float(len(keys) * num_steps)
    return Probe(lambda: run(keys, tasks), amount, "environment steps/s", shapes)
