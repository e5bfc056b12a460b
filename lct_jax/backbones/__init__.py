"""Networks that predict velocities; each family has a folder."""
