"""Sampling: schedules of windows of shots, text-only guidance, the Euler loop, and caches of finished shots."""
