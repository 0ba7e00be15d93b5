"""All that can be known to be wrong before a training makes its first file."""

from compad_jax.backend import sharding
from compad_jax.config import Config
from compad_jax.config.checks import require
from compad_jax.envs import make_env
from compad_jax.envs.split import split_tasks
from compad_jax.histories.collection import check_source
from compad_jax.models import make_policy
from compad_jax.training.restore import check_warm_start


def check_settings(config: Config, *, is_new: bool) -> None:
    """Raises unless a training can start with these settings, as far as no data decide it.

    A training that is new does not start from a checkpoint of its own.

    Raises:
        ConfigError: an unknown name, or no imported histories; tasks that pay nothing or that
            cannot be split; a batch that the devices cannot share; a run to start from that is not
            there or does not fit.
    """
    env = make_env(config.env)
    policy = make_policy(config, env.spec)
    num_tasks = check_source(config)
    split_tasks(num_tasks, config.env)
    num_streams = config.source.num_streams
    require(
        num_tasks * num_streams < 2**31,
        f"source.num_streams={num_streams}: with {num_tasks} tasks must be below 2^31 histories",
    )
    sharding.check_batch_size(config.train.train_batch_size, sharding.make_mesh())
    if is_new and config.train.init_from:
        check_warm_start(policy, config.train)
