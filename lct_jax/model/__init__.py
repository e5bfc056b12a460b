"""The video MMDiT: rotary positions, attention over visible tokens, dual-stream blocks, the backbone."""
