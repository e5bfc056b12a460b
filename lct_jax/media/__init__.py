"""Reads and writes pictures and videos."""
