"""Puppet scenes: rendered shots whose every attribute is known, written of, and read back from pixels."""
