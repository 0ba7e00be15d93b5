"""Histories of one's own: a learner in plain Python over a Gymnasium environment, distilled."""

import gymnasium
import jax.numpy as jnp
import numpy as np

import compad_jax
from compad_jax import histories
from compad_jax.config import EnvConfig, from_dict
from compad_jax.envs.protocol import Discrete, EnvSpec
from compad_jax.reports.evaluation_page import publish
from compad_jax.types import History, Transition

SIZE, START, HORIZON = 21, 10, 30  # Cells, the first one, steps of an episode.


class Corridor(gymnasium.Env):  # As one has it: a hidden goal pays 1 a step.
    observation_space = gymnasium.spaces.Discrete(SIZE)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, goal):
        self.goal = goal

    def reset(self, *, seed=None, options=None):
        self.cell, self.time = START, 0
        return self.cell, {}

    def step(self, action):
        self.cell, self.time = min(max(self.cell + action - 1, 0), SIZE - 1), self.time + 1
        return self.cell, float(self.cell == self.goal), False, self.time == HORIZON, {}


class JaxCorridor:  # The same task again: in it the student acts when it is evaluated.
    spec = EnvSpec(num_actions=3, obs_space=Discrete((SIZE,)), horizon=HORIZON)
    num_tasks = SIZE
    task = staticmethod(lambda index: index)
    reset = staticmethod(lambda key, task: (jnp.int32(START), jnp.full(1, START)))

    def step(self, key, cell, action, task):  # -> state, what is seen of it, reward, ended
        cell = jnp.clip(cell + action - 1, 0, SIZE - 1)
        return cell, cell[None], (cell == task) * 1.0, False


def learn(env, rng, num_episodes):  # Q-learning from high hopes; -> the whole life of a learner.
    values, steps = np.full((SIZE, 3), 10.0), []
    for _ in range(num_episodes):
        obs, done = env.reset()[0], False
        while not done:
            best = np.flatnonzero(values[obs] > values[obs].max() - 1e-6)
            action = rng.choice(best) if rng.random() > 0.05 else rng.integers(3)
            next_obs, reward, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
            steps.append((obs, action, reward, next_obs, done))  # Before any reset.
            values[obs, action] = reward + 0.9 * values[next_obs].max()
            obs = next_obs
    return History(Transition(*map(np.array, zip(*steps, strict=True))))


NUM_LEARNERS, NUM_EPISODES = 20, 9
compad_jax.register_env("corridor", lambda settings: JaxCorridor())
rng = np.random.default_rng(0)
lives = [  # For each task, in their order; learners may live differently long.
    [learn(Corridor(goal), rng, NUM_EPISODES - i % 4) for i in range(NUM_LEARNERS)]
    for goal in range(SIZE)
]
values = histories.write("data/corridor", EnvConfig(name="corridor"), lives)
values |= {"env": {"name": "corridor"}, "optimizer": {"name": "muon", "lr": 0.012}}
values |= {"train": {"train_timesteps": 160}, "eval": {"num_episodes": 30}}
compad_jax.train(from_dict(values), "runs/corridor")
publish(compad_jax.evaluate(from_dict(values), "runs/corridor"))
