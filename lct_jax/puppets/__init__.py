"""Makes puppet scenes: rendered shots whose every attribute is known, described, and read back from pixels."""
