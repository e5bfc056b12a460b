"""Attention over packed scenes, for any network: the mask, rotary positions, kernels and the cache."""
