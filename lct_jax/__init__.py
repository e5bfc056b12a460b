"""Long Context Tuning (LCT) for video diffusion transformers in JAX: one model samples scenes of many shots.

    generator = lct_jax.load("runs/film_tiny")
    generator.sample("script.json", mode="joint").save("out")

What a generator does besides is in `lct_jax/generator.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lct_jax.generator import Generator

__version__ = "0.1.0"


def load(
    checkpoint: str | Path,
    *,
    codec: str | Path | None = None,
    encoder: str | Path | None = None,
    texts: str | Path | None = None,
    weights: str = "ema",
    base: str | Path | None = None,
    loras: Sequence[str] = (),
) -> Generator:
    """Returns a generator of scenes from trained weights.

    Args:
        checkpoint: a run's folder, weights saved by `lct_jax.export`, or the folder of a published base.
        codec: a file with the codec's weights; None takes those in the run's folder or in the base's.
        encoder: a folder with the text encoder's files; None takes the one that the run's config names.
        texts: a file that `lct_jax.encode_texts` wrote, in place of the encoder.
        weights: "ema" or "params", for a run's folder.
        base: the base of a LoRA run, where it was moved after training.
        loras: LoRAs that lie on the weights besides, files or runs, each as "PATH" or "PATH:WEIGHT".

    Raises:
        InputError: files are missing or damaged, or the codec or the encoder are not those of the run.
    """
    # JAX is imported when a model is loaded, so that `import lct_jax` is instant.
    from lct_jax.generator import Generator
    from lct_jax.model_files import open_model

    files = open_model(
        checkpoint,
        codec=codec,
        encoder=encoder,
        texts=texts,
        weights=weights,
        base=base,
        loras=loras,
    )
    return Generator(**files._asdict())
