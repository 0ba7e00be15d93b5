"""CompAD-JAX: compressed in-context reinforcement learning."""
