"""A frozen policy learns in context: rollouts, episodes and their statistics."""
