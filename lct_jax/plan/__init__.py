"""The capacity plan: whether a run fits on chips, and how long it takes; see `__main__.py` for its command."""
