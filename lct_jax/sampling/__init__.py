"""Sampling: schedules of windows of shots, guidance, the Euler loop, and caches of finished shots."""
