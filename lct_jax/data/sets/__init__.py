"""Reads and writes prepared sets: shards of records, their lengths, validation and contact sheets."""
