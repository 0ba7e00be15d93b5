"""Settings that are each allowed, but not together."""

from typing import TYPE_CHECKING

from compad_jax.config.checks import require

if TYPE_CHECKING:
    from compad_jax.config.settings import Config


def check_combinations(config: "Config") -> None:
    """Raises a ConfigError that names the settings that do not go together."""
    data, model, train = config.data, config.model, config.train
    for kind in ("compress", "uncompressed"):
        low, high = getattr(data, f"min_{kind}_length"), getattr(data, f"max_{kind}_length")
        require(
            low <= high,
            f"data.min_{kind}_length={low}: must be at most data.max_{kind}_length={high}",
        )
    compress, window = data.max_compress_length, data.max_uncompressed_length
    require(
        compress <= window,
        f"data.max_compress_length={compress}: a window holds only "
        f"data.max_uncompressed_length={window}",
    )
    for heads in ("tf_n_head", "encoder_n_head"):
        width, count = model.tf_n_embd, getattr(model, heads)
        require(
            width % count == 0, f"model.tf_n_embd={width}: must be a multiple of {heads}={count}"
        )
    require(
        not model.reconstruction_weight or model.remembers,
        "model.reconstruction_weight: nothing to reconstruct from without a memory",
    )
    for name in ("train_timesteps", "checkpoint_every", "eval_every"):
        steps = getattr(train, name)
        require(
            steps % train.log_every == 0,
            f"train.{name}={steps}: must be a multiple of train.log_every={train.log_every}",
        )
    require(
        config.optimizer.num_warmup_steps < train.train_timesteps,
        f"optimizer.num_warmup_steps={config.optimizer.num_warmup_steps}: must be below "
        f"train.train_timesteps={train.train_timesteps}",
    )
    _check_window(config)


def _check_window(config: "Config") -> None:
    """Whether the windows fit the histories, and train what acting needs."""
    data, num_steps = config.data, config.source.num_steps
    if data.whole_history:
        require(
            not config.model.remembers or data.max_compress_length == data.max_uncompressed_length,
            "data.whole_history: needs data.max_compress_length = data.max_uncompressed_length, "
            "or the last positions of a window would hardly be trained",
        )
        return
    depth = data.max_compression_depth if config.model.remembers else 0
    longest = depth * data.max_compress_length + data.max_uncompressed_length
    require(
        longest <= num_steps,
        f"data.max_compression_depth={depth}, data.max_compress_length={data.max_compress_length}, "
        f"data.max_uncompressed_length={data.max_uncompressed_length}: the longest window has "
        f"{longest} steps, a history only source.num_steps={num_steps}",
    )
