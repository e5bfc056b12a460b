"""Long Context Tuning (LCT) for video diffusion transformers in JAX: scenes of many shots, one model."""

__version__ = "0.1.0"
