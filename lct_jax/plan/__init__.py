"""Before a run: does it fit, how long will it take. `python -m lct_jax.plan` (see `__main__.py`)."""
