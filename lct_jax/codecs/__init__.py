"""Encodes and decodes videos, by codecs behind one protocol."""
