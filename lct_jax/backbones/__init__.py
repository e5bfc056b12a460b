"""Networks that predict velocities, a folder a family."""
