"""FLOPs, kernels, chips and the training step: what the planner, the meter and the capacity plan ask."""
