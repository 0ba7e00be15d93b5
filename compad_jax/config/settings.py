"""Settings: frozen dataclasses that check themselves.

Every mistake raises `ConfigError` with one line that says what, where and what is allowed.
"""

import dataclasses
import os
from typing import Annotated, Any

from ml_collections import ConfigDict

from compad_jax.backend import files
from compad_jax.config.checks import (
    Choice,
    ConfigError,
    Count,
    Dropout,
    Natural,
    NonNegative,
    Positive,
    Range,
    Ratio,
    Seed,
    build,
)
from compad_jax.config.combinations import check_combinations


@dataclasses.dataclass(frozen=True)
class DarkGoalsConfig:
    """A dark room with goals in sequence."""

    num_goals: Count = 4  # To be visited in their order.


@dataclasses.dataclass(frozen=True)
class DelayedBanditConfig:
    """A Gaussian bandit with a wait in the middle of an episode."""

    num_arms: Count = 10  # Actions.
    noise: NonNegative = 0.3  # Standard deviation of a reward; means lie in [0, 1].
    num_pulls: Count = 50  # Before the wait, and again after it.


@dataclasses.dataclass(frozen=True)
class EnvConfig:
    """The family of tasks and its split."""

    name: str = "dark_room"  # The family, see compad_jax/envs/.
    num_tasks: Natural = 0  # Tasks of the family that are used; 0: all.
    # Steps in which the environment acts by itself: a bandit's between its pulls, a dark room's
    # after the last reward of an episode, which ends with them. -1: as max_wait says.
    wait: Annotated[int, Range(-1, 2**31 - 2**20)] = -1
    max_wait: Natural = 0  # Drawn from 0..max_wait, every episode, log-uniformly; 0: no wait.
    no_wait_ratio: Ratio = 0.0  # Share of the episodes that draw none.
    grid_size: Count = 9  # Rows and columns of a dark room.
    horizon: Count = 20  # Environment steps of an episode.
    # Where an episode starts in a dark room.
    start: Annotated[str, Choice(("center", "corner", "random"))] = "center"
    # Of dark_room: what the goal pays 1 for, each step on it or the first visit of an episode.
    reward: Annotated[str, Choice(("every_step", "first_visit"))] = "every_step"
    split_seed: Seed = 0  # Draws which tasks are held out, and which are used.
    train_env_ratio: Ratio = 0.9  # Share of the tasks that are trained on; others are held out.
    validation_ratio: Ratio = 0.05  # Share of the training tasks that choose the checkpoint.
    dark_goals: DarkGoalsConfig = DarkGoalsConfig()
    delayed_bandit: DelayedBanditConfig = DelayedBanditConfig()


@dataclasses.dataclass(frozen=True)
class NoiseConfig:
    """How far a systematic source departs from its own best action, and what it is paid."""

    random_action_rate: Ratio = 0.1  # Of all actions, at the start of a history.
    final_random_action_rate: Ratio = 0.01  # To which it falls linearly.
    anneal_ratio: Positive = 0.5  # Part of the history in which it falls.
    # Whether the rates grow over the streams of a task, evenly, from none in the first to these
    # in the last: histories without noise show what to imitate, others how to recover.
    spread_random_actions: bool = False
    # Random actions come in runs of so many steps on average, which are not imitated: they show
    # how to go on from anywhere, to a student without noise. 0: singly, a part of the policy
    # that is imitated.
    random_run_length: Natural = 0
    # Share of the streams that are paid nothing at first, for longer in one than in the next, up
    # to the whole history: they show how to go on searching where a search was in vain. Where
    # rewards come in stages, one of them is not paid for the last stage, the next for the last
    # two, and so on.
    late_reward_ratio: Ratio = 0.0


@dataclasses.dataclass(frozen=True)
class MbieEbConfig(NoiseConfig):
    """Model-based source with an exploration bonus."""

    bonus: NonNegative = 0.1  # Reward imagined for a state that is not known yet.
    known_visits: Count = 1  # Visits after which a state counts as known.
    discount: Ratio = 0.95  # Of its own planning.
    # Among equally good actions: the first, or one drawn anew every time.
    ties: Annotated[str, Choice(("first", "random"))] = "first"


@dataclasses.dataclass(frozen=True)
class StagedSearchConfig(NoiseConfig):
    """Search of a known map for places that pay, one after the other."""

    # Share of the episodes in which it searches on when nothing is left to earn, as for one
    # reward more; in the others it acts at random there. Neither is imitated, but a student does
    # the former, and must have seen that it is no reason to forget.
    idle_search_ratio: Ratio = 0.0


@dataclasses.dataclass(frozen=True)
class UcbConfig:
    """Upper confidence bounds, for bandits."""

    bonus_weight: NonNegative = 1.0  # Of 1 / sqrt(pulls), added to an arm's mean reward.


@dataclasses.dataclass(frozen=True)
class ThompsonConfig:
    """Thompson sampling, for bandits: what it believes before any pull."""

    prior_mean: NonNegative = 0.5  # Of an arm's mean reward.
    prior_std: Positive = 0.3  # Near that of a mean uniform in [0, 1].
    noise_std: Positive = 0.3  # Of a reward.


@dataclasses.dataclass(frozen=True)
class PpoConfig:
    """Proximal policy optimisation; the defaults are the original system's."""

    rollout_length: Count = 80  # Environment steps a stream between updates.
    batch_size: Count = 40  # Steps of a minibatch.
    num_epochs: Count = 20  # Passes over the steps of an update.
    lr: Positive = 3e-4  # Of Adam.
    discount: Ratio = 0.99  # Of rewards.
    gae_lambda: Ratio = 0.95  # Of generalised advantages.
    clip: Positive = 0.2  # How far the probability ratio may leave 1.
    value_weight: NonNegative = 0.5  # Of the critic's loss.
    entropy_weight: NonNegative = 0.0  # Of the bonus for entropy.
    grad_clip_norm: Positive = 0.5  # Longest gradient.
    hidden: Count = 64  # Width of both hidden layers, of the actor and of the critic.
    # Scale of the critic's last layer at first. If small, values start near zero, and goals
    # are learned that a scale of 1 sometimes misses for good.
    critic_gain: Positive = 1.0
    # The streams of a task are divided among so many learners, each with a policy of its own.
    num_learners: Count = 1
    # What the learners are told: what a student sees, or the whole state.
    sees: Annotated[str, Choice(("observation", "state"))] = "observation"


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """The reinforcement-learning algorithm whose learning is distilled."""

    # The algorithm, see compad_jax/sources/; imported: none, data.dir holds histories of others.
    name: str = "mbie_eb"
    num_streams: Count = 60  # Histories of a task.
    num_steps: Count = 400  # Environment steps of a history.
    # What is imitated: the actions taken, or in their place optimal ones, which only who knows
    # the task can tell (decision-pretrained transformers).
    target: Annotated[str, Choice(("taken", "optimal"))] = "taken"
    seed: Seed = 0  # Of all histories.
    mbie_eb: MbieEbConfig = MbieEbConfig()
    staged_search: StagedSearchConfig = StagedSearchConfig()
    ucb: UcbConfig = UcbConfig()
    thompson: ThompsonConfig = ThompsonConfig()
    ppo: PpoConfig = PpoConfig()


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How windows are cut from histories into segments."""

    dir: str = ""  # The store; empty: data/<env>-<source>-<fingerprint>.
    max_compression_depth: Natural = 2  # Compressions in a window; unused with whole_history.
    min_compress_length: Count = 20  # Fewest transitions that are compressed at once.
    max_compress_length: Count = 20  # Most of them.
    min_uncompressed_length: Count = 20  # Fewest transitions of a window's last segment.
    max_uncompressed_length: Count = 20  # Most of them; with memory, also where acting compresses.
    whole_history: bool = True  # Windows are whole histories instead of uniform cuts.
    # Histories stay in the store, and those of the next steps are read while a step runs: for
    # more than fit into memory. The windows are the same.
    streamed: bool = False


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The policy: a causal transformer with (CompAD) or without (AD) latents."""

    tf_n_embd: Count = 64  # Width of tokens and latents.
    tf_n_layer: Count = 3  # Layers of the decoder.
    tf_n_head: Count = 4  # Attention heads of the decoder.
    tf_dim_feedforward: Count = 256  # Width inside the feed-forward layers.
    tf_dropout: Dropout = 0.0  # Of what a layer adds.
    tf_attn_dropout: Dropout = 0.0  # Of attention weights.
    n_latent: Natural = 20  # Latents of the memory; 0: no memory, which is AD.
    encoder_n_layer: Count = 2  # Layers of the compressor.
    encoder_n_head: Count = 4  # Attention heads of the compressor.
    memory_update: str = "replace"  # The memory rule, see compad_jax/models/memory/.
    # Windows are differentiated in pieces of so many compressions, from their end: gradients
    # pass through at most as many, and a longer window needs no more memory, beside that of its
    # tokens. 0: windows are whole.
    bptt_depth: Natural = 0
    # Of a further loss: to tell from the latents what was compressed.
    reconstruction_weight: NonNegative = 0.0
    # auto: float32 on a CPU, bfloat16 on an accelerator; parameters are always float32.
    dtype: Annotated[str, Choice(("auto", "float32", "bfloat16"))] = "auto"

    @property
    def remembers(self) -> bool:
        """Whether there is a memory; a policy without one is AD."""
        return self.n_latent > 0 and self.memory_update != "none"


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or Muon, with global-norm clipping and a warmup-cosine schedule."""

    name: Annotated[str, Choice(("adamw", "muon"))] = "adamw"  # Muon: for matrices only.
    lr: Positive = 1e-3  # The highest one, after the warmup; then a cosine falls to 0.
    num_warmup_steps: Natural = 100  # In which the learning rate rises linearly.
    weight_decay: NonNegative = 0.01  # Of matrices; a step takes away lr * weight_decay of them.
    beta1: Ratio = 0.9  # Of AdamW's mean gradient.
    beta2: Ratio = 0.99  # Of AdamW's mean square.
    momentum: Ratio = 0.95  # Of Muon; betas are for what it leaves to AdamW.
    grad_clip_norm: Positive = 1.0  # Longest gradient, over all parameters together.
    label_smoothing: Ratio = 0.1  # Share of a target's probability that all actions share.


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The training loop; all intervals are in optimiser steps."""

    train_batch_size: Count = 24  # Windows of an optimiser step, on all devices together.
    # Windows that a device works on at once; 0: on a CPU as many as stay in its cache, elsewhere
    # its whole share of the batch. Fewer need less memory; the result is the same.
    micro_batch_size: Natural = 0
    train_timesteps: Count = 1000  # Optimiser steps in all.
    seed: Seed = 0  # Of first parameters, windows and dropout.
    log_every: Count = 20  # Also the number of steps a dispatch.
    checkpoint_every: Count = 200  # What an interruption may cost.
    eval_every: Count = 200  # Losses on validation and held-out histories.
    eval_batches: Count = 4  # Of each of these losses.
    # In-context episodes then played on the validation tasks; their return chooses the best
    # checkpoint. None: the validation loss does.
    validation_episodes: Natural = 0
    quick_compile: bool = False  # Less optimised programs, compiled sooner: for smoke tests.
    init_from: str = ""  # Run directory whose decoder training starts from; empty: none.
    # Its last step, or its best one; empty: as that run's own `eval.checkpoint` says.
    init_checkpoint: Annotated[str, Choice(("", "latest", "best"))] = ""


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """In-context evaluation."""

    num_seeds: Count = 8  # Rollouts of a task, for each way to act.
    num_episodes: Count = 100  # Of a rollout, one life without a reset of the memory.
    # Which tasks are played.
    split: Annotated[str, Choice(("held_out", "validation", "train"))] = "held_out"
    seed: Seed = 0  # Of starts, noise and sampled actions.
    # The last step, or the best one on the validation tasks.
    checkpoint: Annotated[str, Choice(("latest", "best"))] = "latest"
    chunk_episodes: Count = 10  # Episodes a dispatch: bounds the memory of long rollouts.


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run."""

    env: EnvConfig = EnvConfig()
    source: SourceConfig = SourceConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()


def default_config() -> ConfigDict:
    """All settings with their defaults, for a config file to change."""
    return ConfigDict(to_dict(Config()))


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain dictionary of a config dataclass."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> Config:
    """Builds and validates the settings; fields that are missing take their defaults.

    Raises:
        ConfigError: an unknown name, a wrong type or range, or an impossible combination.
    """
    config = _expand_home(build(Config, values))
    check_combinations(config)
    return config


def load_json(path: str) -> Config:
    """Reads what `save_json` wrote.

    Raises:
        ConfigError: it holds no settings of this version: with the file's name.
        OSError: it is not there, or must not be read.
    """
    groups = {field.name: dict for field in dataclasses.fields(Config)}
    values = files.read_json(path, "bring back a copy, or name another directory", groups)
    try:
        return from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def save_json(config: Config, path: str) -> None:
    """Writes the settings as JSON, whole or not at all."""
    files.write_json(path, to_dict(config))


def _expand_home(config: Config) -> Config:
    """A leading `~` in a path becomes the user's home directory."""
    data = dataclasses.replace(config.data, dir=os.path.expanduser(config.data.dir))
    init_from = os.path.expanduser(config.train.init_from)
    train = dataclasses.replace(config.train, init_from=init_from)
    return dataclasses.replace(config, data=data, train=train)
