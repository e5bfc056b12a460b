"""The mesh, the processes of a run, and checks before a run starts."""
