"""An own environment with an own teacher: trained in a minute, evaluated on unseen goals."""

import jax.numpy as jnp

import compad_jax
from compad_jax.config import from_dict
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.reports.evaluation_page import publish
from compad_jax.sources.streams import run_streams


class Corridor:  # Cells 0 to 20, start in the middle; a hidden goal, the task, pays 1 a step.
    spec, num_tasks = EnvSpec(num_actions=3, obs_space=Discrete((21,)), horizon=30), 21
    task = staticmethod(lambda index: index)
    reset = staticmethod(lambda key, task: (jnp.int32(10), jnp.full(1, 10)))

    def step(self, key, cell, action, task):  # -> state, what is seen of it, reward, ended
        cell = jnp.clip(cell + action - 1, 0, 20)
        return cell, cell[None], (cell == task) * 1.0, False


def make_sweep(settings, env):  # Teacher: right, then left, until it is paid; then straight there.
    def policy(goal, episode, _):
        noise = jnp.linspace(0, 0.2, len(goal))[:, None]  # Mistakes show how to recover.
        target = jnp.where(goal >= 0, goal, 20 * (episode.time < 10))
        best = jnp.eye(3)[1 + jnp.sign(target - episode.env_state)]
        return jnp.log(best * (1 - noise) + noise / 3)

    learn = lambda goal, _, x, __: (jnp.where(x.reward > 0, x.next_env_state, goal), x.reward)
    sizes = {"num_streams": settings.num_streams, "num_steps": settings.num_steps}
    know = jnp.full(settings.num_streams, -1)  # Nothing of the goal, at first.
    return lambda key, task: run_streams(env, task, key, policy, learn, know, None, **sizes)


compad_jax.register_env("corridor", lambda settings: Corridor())
compad_jax.register_source("sweep", make_sweep)
values = {"env": {"name": "corridor"}, "source": {"name": "sweep", "num_steps": 240}}
values |= {"optimizer": {"name": "muon", "lr": 0.012}, "train": {"train_timesteps": 200}}
compad_jax.train(from_dict(values), "runs/corridor")
publish(compad_jax.evaluate(from_dict(values), "runs/corridor"))
