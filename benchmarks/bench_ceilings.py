"""What the machine can do: the speeds that all others are held against."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.bench_measure import Facts, Spread, rate, spread, time_calls
from compad_jax.backend import sharding
from compad_jax.config import Config
from compad_jax.envs import make_env, protocol
from compad_jax.models import Policy, make_policy


class Ceilings:
    """What the machine can do, sampled again and again between the measurements.

    A share of a ceiling compares two speeds of the same minutes, so that a slower machine,
    or one that others use, moves both.
    """

    def __init__(self, config: Config, *, matmul_size: int, copy_bytes: int) -> None:
        self._mesh = sharding.make_mesh()
        policy = make_policy(config, make_env(config.env).spec)
        self.units: dict[str, str] = {}
        self._probes: dict[str, tuple[Callable[[], Any], float]] = {}
        self._seconds: dict[str, list[float]] = {}
        self._shapes: dict[str, str] = {}
        self._add("matmul_large", "flop/s", *self._large_matmul(matmul_size))
        self._add("matmul_model", "flop/s", *self._model_matmul(config, policy))
        self._add("copy", "byte/s", *self._copy(copy_bytes))

    def add_environment(self, config: Config) -> None:
        """Adds a ceiling of its own: the source's environments with random actions only."""
        self._add("environment", "environment steps/s", *_random_play(config))

    def sample(self, repeats: int = 3) -> None:
        """Measures every ceiling a few more times."""
        for name, (call, _) in self._probes.items():
            self._seconds[name] += time_calls(call, repeats)

    def rates(self) -> dict[str, Spread]:
        """The ceilings over all samples so far."""
        return {
            name: rate(amount, spread(self._seconds[name]))
            for name, (_, amount) in self._probes.items()
        }

    def facts(self) -> dict[str, Facts]:
        """For the results file."""
        return {
            name: {
                "rate": value._asdict(),
                "unit": self.units[name],
                "shapes": self._shapes[name],
                "samples": len(self._seconds[name]),
            }
            for name, value in self.rates().items()
        }

    def _add(
        self, name: str, unit: str, call: Callable[[], Any], amount: float, shapes: str
    ) -> None:
        self._probes[name], self._seconds[name] = (call, amount), []
        self.units[name], self._shapes[name] = unit, shapes

    def _large_matmul(self, size: int) -> tuple[Callable[[], Any], float, str]:
        """A product large enough to keep every core, or the accelerator, busy."""
        dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        rows = size * self._mesh.size
        left = jax.device_put(jnp.ones((rows, size), dtype), sharding.split_batch(self._mesh))
        right = jax.device_put(jnp.ones((size, size), dtype), sharding.replicated(self._mesh))
        product = jax.jit(lambda a, b: a @ b)
        shapes = f"{jnp.dtype(dtype).name}, [{rows}, {size}] x [{size}, {size}]"
        return lambda: product(left, right), 2.0 * rows * size * size, shapes

    def _model_matmul(self, config: Config, policy: Policy) -> tuple[Callable[[], Any], float, str]:
        """A decoder layer's products with weights, segment after segment, nothing between."""
        width, wide = config.model.tf_n_embd, config.model.tf_dim_feedforward
        rows = config.train.train_batch_size * (config.model.n_latent + policy.window)
        segments, dtype = 16, policy.dtype
        x = jnp.ones((segments, rows, width), dtype)
        split = NamedSharding(self._mesh, PartitionSpec(None, "data"))
        x = jax.device_put(x, split)
        shapes = [(width, 3 * width), (width, width), (width, wide), (wide, width)]
        weights = [jnp.full(shape, 1e-3, dtype) for shape in shapes]
        weights = jax.device_put(weights, sharding.replicated(self._mesh))

        def layer(x: jax.Array, weights: list[jax.Array]) -> Any:
            qkv, out, up, down = weights
            return x @ qkv, (x @ out) @ up @ down

        run = jax.jit(lambda x, weights: jax.lax.map(lambda s: layer(s, weights), x))
        flops = 2.0 * segments * rows * sum(a * b for a, b in shapes)
        text = ", ".join(f"[{a}, {b}]" for a, b in shapes)
        return lambda: run(x, weights), flops, f"{dtype.name}, [{rows}, k] x {text}"

    def _copy(self, num_bytes: int) -> tuple[Callable[[], Any], float, str]:
        """Reads and writes an array in place."""
        size = num_bytes // 4 // self._mesh.size * self._mesh.size
        split = sharding.split_batch(self._mesh)
        holder = [jax.device_put(jnp.zeros(size, jnp.float32), split)]
        add = jax.jit(lambda x: x + 1, donate_argnums=0)

        def call() -> jax.Array:
            holder[0] = add(holder[0])
            return holder[0]

        return call, 2.0 * 4 * size, f"float32, {4 * size / 2**20:.0f} MiB read and written"


def _random_play(config: Config) -> tuple[Callable[[], Any], float, str]:
    """The environments of all histories of a source, with random actions and no learner."""
    env, source = make_env(config.env), config.source
    tasks = jnp.repeat(env.tasks, source.num_streams, axis=0)
    num_steps = min(source.num_steps, 2 * config.env.horizon)

    def play(key: jax.Array, task: jax.Array) -> jax.Array:
        def act(
            state: protocol.EpisodeState, key: jax.Array
        ) -> tuple[protocol.EpisodeState, jax.Array]:
            action_key, step_key = jax.random.split(key)
            action = jax.random.randint(action_key, (), 0, env.spec.num_actions)
            timestep = protocol.step(env, step_key, state, action, task)
            return timestep.state, timestep.reward

        state, _ = protocol.reset(env, key, task)
        return jax.lax.scan(act, state, jax.random.split(key, num_steps))[1].sum()

    keys = jax.random.split(jax.random.key(0), len(tasks))
    run = jax.jit(jax.vmap(play))
    shapes = f"{len(tasks)} environments, {num_steps} steps each"
    return lambda: run(keys, tasks), float(len(tasks) * num_steps), shapes
