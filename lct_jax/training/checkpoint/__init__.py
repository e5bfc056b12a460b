"""Checkpoints of a run: they are written, checked and restored here."""
