"""Prepared sets: shards of records, their lengths, validation and contact sheets."""
