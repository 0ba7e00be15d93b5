"""The mutations that `tests/mutate.py` tries: what is broken, and which tests must notice."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """A piece of a file replaced by another."""

    name: str
    file: str
    old: str  # Stands in the file exactly once.
    new: str
    tests: tuple[str, ...]


_UNROLL = ("tests/models/test_unroll.py", "tests/models/test_memory_rules.py")
_ORACLE = ("tests/models/test_oracle.py",)
_STEP = ("tests/training/test_step.py",)
_OBJECTIVE = ("tests/training/test_objective.py",)

MUTATIONS = (
    Mutation(
        "next_obs taken after the reset",
        "compad_jax/envs/protocol.py",
        "        next_obs=next_obs,\n",
        "        next_obs=obs,\n",
        ("tests/envs/test_protocol.py",),
    ),
    Mutation(
        "distraction leaves the policy's action",
        "compad_jax/envs/protocol.py",
        "action = jnp.where(distracted, own, action)",
        "action = jnp.where(distracted, action, action)",
        ("tests/envs/test_delayed_bandit.py",),
    ),
    Mutation(
        "walls do not stop",
        "compad_jax/envs/grid.py",
        "return jnp.clip(cell + jnp.asarray(_MOVES)[action], 0, grid_size - 1)",
        "return cell + jnp.asarray(_MOVES)[action]",
        ("tests/envs/test_dark_room.py",),
    ),
    Mutation(
        "a terminal state is worth something",
        "compad_jax/envs/tabular.py",
        "jnp.where(model.terminal, 0.0, value_of(model.reward + after))",
        "value_of(model.reward + after)",
        ("tests/envs/test_tabular.py",),
    ),
    Mutation(
        "the `done` feature zeroed",
        "compad_jax/models/tokens.py",
        "previous.done[..., None].astype(jnp.float32)",
        "0 * previous.done[..., None].astype(jnp.float32)",
        ("tests/models/test_tokens.py",),
    ),
    Mutation(
        "latents blind to each other in the compressor",
        "compad_jax/models/memory/compressor.py",
        "all_latents = jnp.ones(memory.shape[:2], bool)",
        "all_latents = jnp.zeros(memory.shape[:2], bool)",
        _ORACLE,
    ),
    Mutation(
        "no positions in the compressor",
        "compad_jax/models/policy.py",
        "segment = self._place(embeddings, 0)",
        "segment = embeddings",
        _ORACLE,
    ),
    Mutation(
        "tokens see the future",
        "compad_jax/models/transformer.py",
        "return (position[None] <= position[:, None]) | (position[None] < num_latents)",
        "return (position[None] <= position[:, None] + 1) | (position[None] < num_latents)",
        ("tests/models/test_policy.py", "tests/models/test_memory_rules.py"),
    ),
    Mutation(
        "the newest tokens are compressed instead of the oldest",
        "compad_jax/models/act.py",
        "oldest, kept = jnp.split(window.embeddings, [policy.compress_length], axis=1)",
        "kept, oldest = jnp.split(window.embeddings, [-policy.compress_length], axis=1)",
        _UNROLL,
    ),
    Mutation(
        "a slot gate that never shuts",
        "compad_jax/models/memory/rules.py",
        "jnp.clip(2 * share - 0.5, 0, 1)",
        "share",
        _ORACLE,
    ),
    Mutation(
        "a segment's gradient counted twice",
        "compad_jax/backend/scan_sum.py",
        "jax.tree.map(jnp.add, total, of_params)",
        "jax.tree.map(lambda a, b: a + 2 * b, total, of_params)",
        ("tests/backend/test_scan_sum.py",),
    ),
    Mutation(
        "MBIE-EB gets its bonus for known states",
        "compad_jax/sources/mbie_eb.py",
        "known.visits < config.known_visits, config.bonus",
        "known.visits >= config.known_visits, config.bonus",
        ("tests/sources/test_mbie_eb.py",),
    ),
    Mutation(
        "staged search forgets what paid",
        "compad_jax/sources/staged_search.py",
        "jnp.where(here & earned, place[:, None], known.payer)",
        "known.payer",
        ("tests/sources/test_staged_search.py",),
    ),
    Mutation(
        "UCB counts distraction steps",
        "compad_jax/sources/arms.py",
        " * ~timestep.distracted[:, None]",
        "",
        ("tests/sources/test_ucb.py",),
    ),
    Mutation(
        "PPO does not clip",
        "compad_jax/sources/ppo_loss.py",
        "jnp.clip(ratio, 1 - config.clip, 1 + config.clip)",
        "ratio",
        ("tests/sources/test_ppo.py", "tests/sources/test_ppo_table.py"),
    ),
    Mutation(
        "windows start at the start of histories",
        "compad_jax/histories/sampler.py",
        "start = jnp.clip(start, 0, last_start)",
        "start = 0 * start",
        ("tests/histories/test_sampler.py",),
    ),
    Mutation(
        "the previous transition is the current one",
        "compad_jax/histories/sampler.py",
        "x[row, jnp.maximum(now - 1, 0)]",
        "x[row, now]",
        ("tests/histories/test_sampler.py",),
    ),
    Mutation(
        "uniform targets are learned",
        "compad_jax/histories/sampler.py",
        "is_target = mask & dataset.is_target[row, now]",
        "is_target = mask",
        ("tests/histories/test_sampler.py", "tests/histories/test_dataset.py"),
    ),
    Mutation(
        "a store of other code is accepted",
        "compad_jax/histories/store.py",
        'manifest["program"] == origin.program',
        "True",
        ("tests/histories/test_store.py", "tests/histories/test_collection.py"),
    ),
    Mutation(
        "losses weigh padding",
        "compad_jax/training/objective.py",
        "        segments.is_target / counts.targets,\n",
        "        jnp.ones_like(segments.mask) / counts.targets,\n",
        _STEP,
    ),
    Mutation(
        "every step draws the same batch and dropout",
        "compad_jax/training/step.py",
        "jax.random.fold_in(key, state.step)",
        "jax.random.fold_in(key, 0)",
        _STEP,
    ),
    Mutation(
        "all devices have the same dropout",
        "compad_jax/training/objective.py",
        "window += jax.lax.axis_index(axis_name) * len(window)",
        "window += 0",
        _STEP,
    ),
    Mutation(
        "all parts of a batch have the same dropout",
        "compad_jax/training/objective.py",
        "DropoutKey(key, window)",
        "DropoutKey(key, jnp.arange(len(window)))",
        _OBJECTIVE,
    ),
    Mutation(
        "a part is weighed by its own targets",
        "compad_jax/training/objective.py",
        "        segments.is_target / counts.targets,\n",
        "        segments.is_target / count_true(segments.is_target),\n",
        _OBJECTIVE,
    ),
    Mutation(
        "a piece begins with an empty memory",
        "compad_jax/models/fast_unroll.py",
        "first, index = before.memory, before.number + index",
        "first, index = jax.tree.map(jnp.zeros_like, before.memory), before.number + index",
        ("tests/models/test_fast_unroll.py", *_OBJECTIVE),
    ),
    Mutation(
        "pieces are counted from the start of a window",
        "compad_jax/models/unroll.py",
        "(num_compressions - index) % config.bptt_depth == 0",
        "index % config.bptt_depth == 0",
        ("tests/models/test_unroll.py", *_OBJECTIVE),
    ),
    Mutation(
        "validation losses measured on held-out tasks",
        "compad_jax/training/validation.py",
        'draw(spaced(datasets[name])) for name in ("validation", "held_out")',
        'draw(spaced(datasets["held_out"])) for name in ("validation", "held_out")',
        ("tests/training/test_validation.py",),
    ),
    Mutation(
        "a depth without targets counts as zero",
        "compad_jax/training/metrics.py",
        "jnp.where(total > 0, (x * weight).sum(0) / jnp.maximum(total, 1e-9), jnp.nan)",
        "(x * weight).sum(0) / jnp.maximum(total, 1e-9)",
        ("tests/training/test_metrics.py",),
    ),
    Mutation(
        "smoothing is not undone",
        "compad_jax/training/losses.py",
        "jnp.maximum(0.0, (q - smoothing / q.shape[-1]) / (1 - smoothing))",
        "q",
        ("tests/training/test_losses.py",),
    ),
    Mutation(
        "checkpoints are not checked",
        "compad_jax/training/checkpoints.py",
        "if _checksum(restored[name]) != saved[name]:",
        "if False:",
        ("tests/training/test_checkpoints.py",),
    ),
    Mutation(
        "a bootstrap without resampled seeds",
        "compad_jax/evaluation/statistics.py",
        "seed = rng.integers(num_seeds, size=(_NUM_BOOTSTRAP, num_tasks, num_seeds))",
        "seed = np.broadcast_to(np.arange(num_seeds), (_NUM_BOOTSTRAP, num_tasks, num_seeds))",
        ("tests/evaluation/test_statistics.py",),
    ),
    Mutation(
        "a finished episode goes on",
        "compad_jax/evaluation/tally.py",
        "episode=tally.episode + timestep.done,",
        "episode=tally.episode + (timestep.done & False),",
        ("tests/evaluation/test_rollout.py", "tests/evaluation/test_episodes.py"),
    ),
    Mutation(
        "an agent forgets the last action",
        "compad_jax/agent.py",
        "action=state.action if action is None else jnp.asarray(action, jnp.int32)",
        "action=0 * state.action",
        ("tests/test_agent.py",),
    ),
    Mutation(
        "an unknown setting is ignored",
        "compad_jax/config/checks.py",
        "require(name in hints,",
        "require(True or name in hints,",
        ("tests/config/test_settings.py",),
    ),
    Mutation(
        "the figure's interval is left out",
        "compad_jax/reports/figures.py",
        "axes.fill_between(x, low, high, color=color",
        "axes.fill_between(x, low, low, color=color",
        ("tests/reports/test_evaluation_page.py",),
    ),
    Mutation(
        "the diagnosis takes any gap for learned",
        "compad_jax/diagnose/verdicts.py",
        "learned = gap <= _CLOSE * room",
        "learned = True",
        ("tests/diagnose/test_verdicts.py",),
    ),
    Mutation(
        "a wait is a step too short",
        "compad_jax/envs/waiting.py",
        "            after.waited == after.length,\n",
        "            after.waited + 1 >= after.length,\n",
        ("tests/envs/test_waiting.py",),
    ),
    Mutation(
        "every episode draws a wait",
        "compad_jax/envs/waiting.py",
        "        none = self.no_wait_ratio\n",
        "        none = 0.0\n",
        ("tests/envs/test_waiting.py",),
    ),
    Mutation(
        "who has finished keeps the others from sitting out a wait",
        "compad_jax/evaluation/rollout.py",
        "(timestep.distracted | is_over(state.tally)).all()",
        "timestep.distracted.all()",
        ("tests/evaluation/test_recall.py",),
    ),
    Mutation(
        "optimal targets are stored and not imitated",
        "compad_jax/histories/sampler.py",
        "action = dataset.target[row, now]",
        "action = dataset.transition.action[row, now]",
        ("tests/histories/test_sampler.py",),
    ),
    Mutation(
        "of several shortest ways the first one counts",
        "compad_jax/envs/tabular.py",
        "    return is_best / is_best.sum(-1, keepdims=True)\n",
        "    return jax.nn.one_hot(is_best.argmax(-1), is_best.shape[-1])\n",
        ("tests/envs/test_optimal_actions.py",),
    ),
    Mutation(
        "a teacher that sees the state shows it to its student",
        "compad_jax/sources/ppo.py",
        "transition=hide_state(env, history.transition)",
        "transition=history.transition",
        ("tests/sources/test_ppo_state.py",),
    ),
    Mutation(
        "waits are uniform, not log-uniform",
        "compad_jax/envs/waiting.py",
        "        return jnp.minimum(jnp.exp(size).astype(jnp.int32) - 1, self.max_wait)\n",
        "        return jnp.minimum((size * 50).astype(jnp.int32), self.max_wait)\n",
        ("tests/envs/test_waiting.py",),
    ),
    Mutation(
        "what is sat out is not remembered",
        "compad_jax/models/act.py",
        "        memory=memory, embeddings=embeddings, num_comp",
        "        embeddings=embeddings, num_comp",
        ("tests/evaluation/test_recall.py",),
    ),
    Mutation(
        "the first episode counts as recall",
        "compad_jax/evaluation/recall.py",
        '        first_episode=0 if hasattr(env, "recalls") else 1,\n',
        "        first_episode=0,\n",
        ("tests/evaluation/test_recall.py", "tests/test_shipped.py"),
    ),
    Mutation(
        "a cache keeps padding",
        "compad_jax/models/memory/baselines.py",
        "        newest = mask.sum(1)[:, None] + jnp.arange(num_cached)",
        "        newest = jnp.full((len(mask), 1), length) + jnp.arange(num_cached)",
        (*_ORACLE, "tests/models/test_memory_rules.py"),
    ),
)
