"""Pictures of three panels with one caption, as In-Context LoRA is trained on them, made of shots of scenes.

A picture has the first frames of three shots that follow each other, one above the other; its caption is the scene's
global prompt without the story, then the prompt of every shot behind a marker. Sampling words captions alike
(`lct_jax.directing.arrange`) and cuts the panels apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lct_jax.data.sources import RawScene, RawShot
from lct_jax.directing.arrange import PANELS, caption_panels, group_panels
from lct_jax.directing.prompts import SHOT_CUT_TAG


def stack_panels(scene: RawScene) -> Iterator[RawScene]:
    """Yields a scene of one shot of one frame for every picture of a scene; one of fewer than three shots has none."""
    shots = list(scene.shots)
    if len(shots) < PANELS:
        return
    for number, group in enumerate(group_panels(len(shots))):
        frames = np.concatenate([shots[place].frames[:1] for place in group], axis=1)
        texts = [shots[place].text.removeprefix(SHOT_CUT_TAG).strip() for place in group]
        shot = RawShot(caption_panels(scene.brief, texts), frames)
        yield RawScene(f"{scene.name}_{number}", scene.split, "", "", [shot])


def cut_panels(frames: np.ndarray, panels: int) -> list[np.ndarray]:
    """Returns the pictures that stand one above the other in frames [T, height, width, 3], from the top."""
    return np.split(frames, panels, axis=1)
