"""FLOPs, kernels, chips and the training step, as the planner, the meter and the capacity plan use them."""
