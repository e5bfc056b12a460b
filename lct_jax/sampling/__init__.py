"""Sampling: windows of shots, text-only guidance, Euler steps, and the plans that make a scene."""
