"""Reads scripts, which a person or a language model writes for a scene."""
