"""An own memory rule: a GRU that reads the mean of each segment, trained on a small dark room."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

import compad_jax
from compad_jax.config import ModelConfig, from_dict
from compad_jax.reports.evaluation_page import publish


class GruOfMeans(nn.Module):
    config: ModelConfig
    dtype: Any  # Of the computation.

    def setup(self):
        self.cell = nn.GRUCell(self.config.tf_n_embd, dtype=self.dtype)

    def initial(self, batch):  # The memory: any pytree whose arrays begin with the batch.
        return jnp.zeros((batch, self.config.tf_n_embd), self.dtype)

    def write(self, memory, segment, mask, *, deterministic=True):
        count = jnp.maximum(mask.sum(1, keepdims=True), 1)  # A segment may be all padding.
        mean = (segment * mask[..., None]).sum(1) / count
        return self.cell(memory, mean.astype(self.dtype))[0]

    def read(self, memory):  # The tokens that the decoder attends to, [B, M, D].
        return memory[:, None]


compad_jax.register_memory("gru_of_means", GruOfMeans)
values = {"env": {"grid_size": 5, "horizon": 10}, "train": {"train_timesteps": 200}}
values["source"] = {"num_streams": 20, "num_steps": 200, "mbie_eb": {"random_action_rate": 0.2}}
values["model"] = {"memory_update": "gru_of_means", "tf_n_layer": 2}
values["optimizer"] = {"name": "muon", "lr": 0.012, "weight_decay": 1.0, "num_warmup_steps": 50}
values["eval"] = {"num_episodes": 20}
compad_jax.train(from_dict(values), "runs/gru_of_means")
publish(compad_jax.evaluate(from_dict(values), "runs/gru_of_means"))
