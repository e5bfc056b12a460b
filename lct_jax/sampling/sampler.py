"""Euler sampling of scenes: one code path for joint, conditional and shot-after-shot plans.

A window's tokens are laid out as in training. Denoised shots start as noise and share a time that goes from 1 to 0;
held shots are noised once to a low time t_c, keep that noise, and are embedded at t_c [LCT section 3.3]. Noise
belongs to a shot and not to a window, so every mode starts a shot from the same noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.config import SamplingConfig
from lct_jax.flow import Backbone, find_groups, shift_time
from lct_jax.layout import SceneTokens, Spans, lay_out, pack
from lct_jax.sampling.guidance import BRANCHES, guide
from lct_jax.sampling.plan import Window
from lct_jax.sampling.request import SceneRequest
from lct_jax.types import PackedBatch

TEXT_MULTIPLE = 32  # text is padded up to it, so that windows of one shape share a compiled model


@dataclass(frozen=True)
class Shot:
    """A finished shot: its number (0-based) and clean tokens float32[T X Y, C]."""

    number: int
    tokens: np.ndarray


class Start(NamedTuple):
    """Where a shot of a window starts: noisy tokens [L C] and the time it is held at (None: denoised)."""

    time: float | None
    tokens: np.ndarray


def time_grid(steps: int, shift: float) -> np.ndarray:
    """float32[steps + 1] times from 1 to 0, shifted as in training."""
    return np.asarray(shift_time(np.linspace(1.0, 0.0, steps + 1), shift), np.float32)


def sample_scene(
    backbone: Backbone,
    request: SceneRequest,
    plan: Sequence[Window],
    *,
    config: SamplingConfig,
    shift: float,
    spans: Spans,
    key: jax.Array,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[Shot]:
    """Runs a plan and yields each shot as its window is done.

    Args:
        backbone: (video, text, time_BS) -> velocity, its context chosen. request: the scene. plan: windows.
        config: steps, guidance, condition times. shift: of the flow the model was trained with.
        spans: reserved text spans of the model. key: of all noise. on_step: called after every Euler step.
    """
    finished: dict[int, np.ndarray] = {}
    for window in plan:
        starts = [
            _start(shot, request, window, finished, config=config, key=key) for shot in window.shots
        ]
        clean = _denoise(
            backbone,
            _lay_out_window(request, window, starts, spans=spans),
            starts,
            time_grid(config.steps, shift),
            guidance=config.guidance,
            on_step=on_step,
        )
        for place, shot in enumerate(window.shots):
            if shot in window.denoised:
                finished[shot] = clean[place]
                yield Shot(number=shot, tokens=clean[place])


def _start(
    shot: int,
    request: SceneRequest,
    window: Window,
    finished: dict[int, np.ndarray],
    *,
    config: SamplingConfig,
    key: jax.Array,
) -> Start:
    """What a shot of a window starts as: pure noise, or its clean tokens noised to t_c."""
    wanted = request.shots[shot]
    shot_key, condition_key = jax.random.split(jax.random.fold_in(key, shot))
    if shot in window.denoised:
        shape = (int(np.prod(wanted.grid)), request.channels)
        return Start(time=None, tokens=np.asarray(jax.random.normal(shot_key, shape)))
    given = wanted.given is not None
    clean = wanted.given if given else finished[shot]
    time = config.condition_time if given else config.history_time
    noise = np.asarray(jax.random.normal(condition_key, clean.shape))
    return Start(time=time, tokens=(1.0 - time) * clean + time * noise)


def _lay_out_window(
    request: SceneRequest, window: Window, starts: Sequence[Start], *, spans: Spans
) -> PackedBatch:
    """The window as two rows that differ in text alone: prompts, and negative prompts."""
    video = [start.tokens for start in starts]
    if request.prompt is not None:
        video.insert(0, np.zeros((1, request.channels), np.float32))
    rows = []
    for negative in (False, True):
        prompts = [] if request.prompt is None else [request.prompt]
        prompts += [request.shots[shot].prompt for shot in window.shots]
        rows.append(
            SceneTokens(
                video=np.concatenate(video),
                text=np.concatenate([p.negative if negative else p.text for p in prompts]),
                layout=lay_out(request.plan(window.shots, negative=negative), spans=spans),
            )
        )
    longest = max(len(row.text) for row in rows)
    return pack(
        [[row] for row in rows],
        video_tokens=len(rows[0].video),
        text_tokens=-(-longest // TEXT_MULTIPLE) * TEXT_MULTIPLE,
        channels=request.channels,
        text_width=rows[0].text.shape[1],
    )


def _denoise(
    backbone: Backbone,
    batch: PackedBatch,
    starts: Sequence[Start],
    times: np.ndarray,
    *,
    guidance: float,
    on_step: Callable[[], None],
) -> list[np.ndarray]:
    """Euler steps over one window; returns the tokens of every shot, held ones as they were."""
    index = batch.video.index
    slots = int(index.group.max()) + 1
    shot_S = np.asarray(find_groups(index, slots).shot[0])
    held_S = np.zeros(slots, np.float32)
    moving_S = np.zeros(slots, bool)
    for shot, start in enumerate(starts, start=1):
        moving_S |= (shot_S == shot) & (start.time is None)
        held_S += (shot_S == shot) * np.float32(start.time or 0.0)
    moving_L1 = moving_S[index.group[0]][:, None]
    noisy_LC = jnp.asarray(batch.video.value[0])
    for time, later in itertools.pairwise(times):
        time_BS = np.tile(np.where(moving_S, time, held_S), (BRANCHES, 1))
        video = batch.video._replace(value=jnp.stack([noisy_LC] * BRANCHES))
        velocity_LC = guide(backbone(video, batch.text, time_BS), guidance)
        noisy_LC = jnp.where(moving_L1, noisy_LC + (later - time) * velocity_LC, noisy_LC)
        on_step()
    clean_LC = np.asarray(noisy_LC)
    return [clean_LC[index.shot[0] == shot] for shot in range(1, len(starts) + 1)]
