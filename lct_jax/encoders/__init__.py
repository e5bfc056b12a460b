"""Encodes texts, by encoders behind one protocol."""
