"""A tiny model learns one scene by heart."""

from __future__ import annotations


def test_the_loss_falls_at_least_fivefold_at_every_time(overfit):
    assert (overfit.after < overfit.before / 5).all(), (overfit.before, overfit.after)
