"""The dual-stream transformer of the paper (MMDiT)."""
