"""Runs `lct_jax.data.sets.validate`, which had this name, and says so."""

from lct_jax.cli import run_moved

if __name__ == "__main__":
    run_moved("lct_jax.data.sets.validate")
