"""Many processes as one run: who takes part, that all are alike, and that one which is lost ends the others."""
