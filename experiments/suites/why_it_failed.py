"""Which faults kept the original system from learning, one at a time.

python -m experiments.ablate --suite why_it_failed
"""

from compad_jax.training.setup import Builders
from experiments.faults import (
    make_hasty_policy,
    make_unmasked_policy,
    sample_left_padded,
    sample_starts_only,
)
from experiments.suites import Arm, Suite

_SIZE = (
    "model.tf_n_embd=128",
    "model.tf_n_layer=4",
    "model.tf_n_head=8",
    "model.tf_dim_feedforward=512",
    "model.n_latent=40",
    "model.encoder_n_layer=3",
    "model.encoder_n_head=8",
)
_RATE = ("optimizer.lr=1e-4",)
_DEPTH = (
    "data.max_compression_depth=3",
    "data.min_compress_length=15",
    "data.max_compress_length=60",
)
_DROPOUT = ("model.tf_dropout=0.1", "model.tf_attn_dropout=0.1")
_SMOOTHING = ("optimizer.label_smoothing=0.0",)

# The original's 256 windows hold one target each; 16 of ours hold 1,700, and more steps fit into
# a budget.
BATCH = "train.train_batch_size=16"

NEW = Arm("new", "NEW, sampled over whole histories")
STARTS = Arm(
    "starts",
    "targets from the start of histories only",
    builders=Builders(make_sampler=sample_starts_only),
)

SUITE = Suite(
    question="What kept the original system from learning?",
    config="configs/original/new.py",
    overrides=(BATCH, "train.log_every=10", "eval.num_episodes=100"),
    num_tokens=1_010_000,
    warmup_ratio=0.02,
    seeds=(0, 1, 2),
    arms=(
        NEW,
        STARTS,
        Arm(
            "padding",
            "padding attended to",
            builders=Builders(make_policy=make_unmasked_policy, make_sampler=sample_left_padded),
        ),
        Arm(
            "hasty",
            "acting compresses one transition a step",
            act_with=make_hasty_policy,
            trained_as="new",
        ),
        Arm("rate", "OLD learning rate", _RATE),
        Arm("depth", "OLD depth and lengths", _DEPTH),
        Arm("dropout", "OLD dropout", _DROPOUT),
        Arm("smoothing", "OLD smoothing (none)", _SMOOTHING),
        Arm("size", "OLD size", _SIZE),
        Arm("old", "OLD as a whole", _SIZE + _RATE + _DEPTH + _DROPOUT + _SMOOTHING),
    ),
)
