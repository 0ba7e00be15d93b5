"""Settings: frozen dataclasses that check themselves, and the command line."""

from compad_jax.config.checks import ConfigError
from compad_jax.config.settings import (
    Config,
    DataConfig,
    EnvConfig,
    EvalConfig,
    MbieEbConfig,
    ModelConfig,
    OptimizerConfig,
    PpoConfig,
    SourceConfig,
    TrainConfig,
    default_config,
    from_dict,
    load_json,
    save_json,
    to_dict,
)

__all__ = [
    "Config",
    "ConfigError",
    "DataConfig",
    "EnvConfig",
    "EvalConfig",
    "MbieEbConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PpoConfig",
    "SourceConfig",
    "TrainConfig",
    "default_config",
    "from_dict",
    "load_json",
    "save_json",
    "to_dict",
]
