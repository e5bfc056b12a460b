"""Training: the state and its pure step, checkpoints, weights, evaluation, and what a run reports."""
