"""The mesh, and the processes of a run: how they start together, compare facts and end."""
