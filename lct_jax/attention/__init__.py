"""Attention over packed scenes: the mask, rotary positions, kernels, and the cache; any network's."""
