"""Losses, optimiser, the training step and loop, validation and checkpoints."""
