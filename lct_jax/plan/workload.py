"""What a step is to compute: shots of one size, their scene, and how many scenes fill a row.

`make_workload` makes a `Workload` of a config and a `SceneTarget`. Sizes come from the same functions as in preparation
(`fit_size`) and layout (`token_grid`), so that a plan and a run count the same tokens. Prompts are assumed to fill half
of their reserved spans: longer ones than a span are refused, and few come near it. With an encoder that pads every text
to one length, prompts have that length.
"""

from __future__ import annotations

from dataclasses import dataclass

from lct_jax.codecs.registry import find_stride
from lct_jax.config import Config
from lct_jax.encoders.prompts import SD3
from lct_jax.errors import InputError
from lct_jax.layout import GroupPlan, ScenePlan, plan_scene, token_grid
from lct_jax.media.frames import fit_size

# A prompt is assumed to fill its span divided by this.
PROMPT_FILL = 2
# Tokens of every text, by encoders whose base model sees padding (`codecs/t5.py`).
PADDED = {"t5": SD3.max_tokens}


@dataclass(frozen=True)
class SceneTarget:
    """The scene to plan for; None takes the config's value.

    Attributes:
        shots: the number of shots.
        frames: the frames of a shot, 4n + 1.
        aspect: width over height.
    """

    shots: int | None = None
    frames: int | None = None
    aspect: float | None = None


@dataclass(frozen=True)
class Workload:
    """Sizes of a scene and of the rows it is packed into.

    Attributes:
        frames, height, width: the size of a shot, in frames and pixels.
        scene: token sizes of a scene.
        scenes: how many scenes are in a row.
        video, text: the token budget of a row.
        rows: the rows of a global batch.
        slots: the group slots of a row.
    """

    frames: int
    height: int
    width: int
    scene: ScenePlan
    scenes: int
    video: int
    text: int
    rows: int
    slots: int

    @property
    def shot_tokens(self) -> int:
        """Video tokens of one shot."""
        return self.scene.shots[0].video

    @property
    def scene_video(self) -> int:
        """Video tokens of a scene, those of its dummy included."""
        return sum(group.video for group in self.scene.groups)

    @property
    def scene_text(self) -> int:
        """Text tokens of a scene."""
        return sum(group.text for group in self.scene.groups)

    @property
    def tokens(self) -> int:
        """Token slots of a row, text and video, used or not."""
        return self.video + self.text


def make_workload(config: Config, target: SceneTarget) -> Workload:
    """Returns the workload of a training step whose rows are full of scenes of one kind.

    Raises:
        InputError: codec and patch cannot divide frames or sizes, or a row cannot hold the scene.
    """
    frames, height, width, grid = find_grid(config, target)
    scene = make_scene(config, target.shots or config.data.max_shots, grid)
    data = config.data
    video = sum(group.video for group in scene.groups)
    text = sum(group.text for group in scene.groups)
    scenes = min(
        data.video_tokens // video, data.text_tokens // text, data.groups // len(scene.groups)
    )
    if not scenes:
        raise InputError(_too_large(config, video=video, text=text, groups=len(scene.groups)))
    return Workload(
        frames,
        height,
        width,
        scene,
        scenes,
        data.video_tokens,
        data.text_tokens,
        data.rows,
        data.groups,
    )


def find_grid(config: Config, target: SceneTarget) -> tuple[int, int, int, tuple[int, int, int]]:
    """Returns frames, height and width of a shot, and its token grid (T, X, Y)."""
    prepare, patch = config.prepare, config.backbone.patch
    stride = find_stride(prepare.codec)
    frames = target.frames or prepare.max_frames
    if frames % stride[0] != 1:
        raise InputError(f"--frames: found {frames}, expected {stride[0]}n + 1")
    aspect = target.aspect or prepare.width / prepare.height
    height, width = fit_size(
        1000,
        round(1000 * aspect),
        area=prepare.height * prepare.width,
        multiple=(stride[1] * patch[1], stride[2] * patch[2]),
    )
    latent = (frames - 1) // stride[0] + 1, height // stride[1], width // stride[2]
    return frames, height, width, token_grid(latent, patch)


def make_scene(config: Config, shots: int, grid: tuple[int, int, int]) -> ScenePlan:
    """Returns a scene of equal shots; a single shot has no global prompt, as in training."""
    shot = GroupPlan(count_text(config, config.layout.shot_span), grid)
    scene = count_text(config, config.layout.scene_span) if shots > 1 else None
    return plan_scene(config.backbone.text, scene, (shot,) * shots)


def count_text(config: Config, span: int) -> int:
    """Returns the text tokens of a prompt with such a span."""
    return PADDED.get(config.prepare.encoder) or max(1, span // PROMPT_FILL)


def parse_aspect(text: str) -> float:
    """Returns the width over height of `16:9` or `1.78`; raises InputError naming --aspect."""
    parts = text.split(":")
    try:
        sides = [float(part) for part in parts]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or not all(0 < side < 1e6 for side in sides):
        raise InputError(f"--aspect: found {text!r}, expected width to height, such as 16:9")
    return sides[0] / (sides[1] if len(sides) == 2 else 1.0)


def _too_large(config: Config, *, video: int, text: int, groups: int) -> str:
    for field, found, needed in (
        ("data.video_tokens", config.data.video_tokens, video),
        ("data.text_tokens", config.data.text_tokens, text),
        ("data.groups", config.data.groups, groups),
    ):
        if found < needed:
            return f"{field}: found {found}, expected at least {needed} for such a scene (--shots, --frames)"
    raise AssertionError("a scene fits in every budget of a row, but not in the row")
