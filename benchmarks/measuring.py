"""Measures times and memory of a small model on this machine, every mode in turn, and of its attention alone.

Everything is compiled before it is timed. The modes take turns within a repeat, and the fastest repeat counts, because
other programs on the machine make it slower, never faster.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lct_jax.attention.attend import attend
from lct_jax.attention.cache import attend_history
from lct_jax.attention.chunked import merge
from lct_jax.attention.mask import find_spans
from lct_jax.backbones.denoiser import Denoiser
from lct_jax.backbones.registry import build, describe
from lct_jax.config import NetworkConfig, SamplingConfig
from lct_jax.config.network import make_network
from lct_jax.plan.scenes import MODES, make_request, plan_mode
from lct_jax.sampling.cached_pass import CachedPass
from lct_jax.sampling.euler import run_steps, time_grid
from lct_jax.sampling.passes import FullPass, sample_scene
from lct_jax.sampling.request import SceneRequest
from lct_jax.sampling.window import SamplingScene
from lct_jax.types import History, TokenIndex

MODEL = make_network(
    width=128, depth=2, heads=2, head_dim=64, channels=4, text_width=64, rope_split=(16, 24, 24),
    scene_span=32, shot_span=32, dtype="float32", remat="none",
)  # fmt: skip
# A shot of 480 tokens of video and 32 of text fills a block of keys.
GRID, TEXT = (8, 6, 10), 32
# A pass that renoises is a ninth of all passes here, and a 33rd with 32 steps.
SAMPLING = SamplingConfig(steps=8, guidance=3.0)
PAGE = 4096


class Sizes(NamedTuple):
    """What is sampled: the network, the grid and the text tokens of a shot, and how."""

    model: NetworkConfig = MODEL
    grid: tuple[int, int, int] = GRID
    text: int = TEXT
    sampling: SamplingConfig = SAMPLING


SMALL = Sizes()


class Scene:
    """Is a scene of equal shots and a model with random weights, sampled in any mode."""

    def __init__(self, shots: int, sizes: Sizes = SMALL) -> None:
        self.sizes = sizes
        network = build(sizes.model, key=0)
        network = network._replace(params=randomise(network.params))
        self.full, self.causal = (
            Denoiser(network, spec=describe(sizes.model), context=context)
            for context in ("full", "causal")
        )
        of = {
            "grid": sizes.grid,
            "width": sizes.model.backbone.text_width,
            "channels": sizes.model.backbone.patch_channels,
            "text": sizes.text,
        }
        self.requests = [make_request(n + 1, scene_text=sizes.text - 1, **of) for n in range(shots)]
        self.bare = make_request(shots, scene_text=0, **of)

    def make_sampling_scene(self, request: SceneRequest, sampling: SamplingConfig) -> SamplingScene:
        """Returns a request's scene before it is sampled."""
        layout = self.sizes.model.layout
        return SamplingScene(
            request, sampling, layout=layout, keeps_text=True, key=jax.random.key(0)
        )

    def time_windows(self, mode: str, shots: int) -> list[float]:
        """Returns the seconds of every window of a scene, one after the other."""
        request = self.bare if mode == "independent" else self.requests[shots - 1]
        sampling = self.sizes.sampling
        sampling_scene = self.make_sampling_scene(request, sampling)
        plan = plan_mode(mode, request, sampling)
        times = time_grid(sampling.steps, 1.0)
        executor = (
            CachedPass(self.causal, sampling_scene, plan, times)
            if mode == "causal"
            else FullPass(self.full.forward, sampling_scene, times)
        )
        marks = [time.perf_counter()]
        for _ in sample_scene(executor, sampling_scene, plan):
            marks.append(time.perf_counter())
        # The shots of this mode are finished together.
        if mode == "joint":
            return [marks[1] - marks[0]]
        return [later - start for start, later in itertools.pairwise(marks)]


def measure_modes(shots: int, repeats: int) -> dict[str, Any]:
    """Returns the seconds of a scene by mode and number of shots (the fastest repeat), the compiled programs and peak
    memory.

    A scene of n shots is the beginning of a longer one in every mode but the joint one, so windows are timed once and
    added up.
    """
    scene = Scene(shots)
    runs = [(mode, shots) for mode in MODES if mode != "joint"]
    runs += [("joint", n + 1) for n in range(shots)]
    programs = {}
    for mode, n in runs:
        before = run_steps._cache_size()
        scene.time_windows(mode, n)  # compiles
        programs[mode] = programs.get(mode, 0) + run_steps._cache_size() - before
    best: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeats):
        for run in runs:
            seconds = scene.time_windows(*run)
            best[run] = [*map(min, zip(best.get(run, seconds), seconds, strict=True))]
    after = run_steps._cache_size()
    seconds = {mode: np.cumsum(best[mode, shots]).tolist() for mode in MODES if mode != "joint"}
    seconds["joint"] = [best["joint", n + 1][0] for n in range(shots)]
    return {
        "seconds": seconds,
        "seconds_of_shot": {mode: best[mode, shots] for mode in ("autoregressive", "causal")},
        "programs": programs,
        "programs_compiled_while_timing": run_steps._cache_size() - after,
        "peak_megabytes": {mode: _measure_peak(scene, mode, shots) for mode in MODES},
    }


def measure_attention(shots: int, repeats: int) -> dict[str, list[float]]:
    """Returns the seconds of one layer's attention kernels in one pass at the sizes of a scene, without a global
    prompt.

    Returns:
        "joint": all tokens of n shots see each other. "causal": the tokens of the n-th shot see themselves and, in a
            cache, the n - 1 shots before them; both are merged.
    """
    size = int(np.prod(GRID)) + TEXT
    rng = np.random.default_rng(0)
    draw = lambda length: tuple(
        jnp.asarray(
            rng.normal(size=(2, MODEL.backbone.heads, length, MODEL.backbone.head_dim)), jnp.float32
        )
        for _ in range(3)
    )
    kept = [x[None] for x in draw((shots - 1) * size)[:2]]

    @jax.jit
    def joint(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        index = _one_group(q.shape[2])
        return attend(q, k, v, spans=find_spans(index, index, "full")).value

    @jax.jit
    def causal(q: jax.Array, k: jax.Array, v: jax.Array, history: History) -> jax.Array:
        index = _one_group(q.shape[2])
        own = attend(q, k, v, spans=find_spans(index, index, "full"))
        return merge(own, attend_history(q, history, jnp.int32(0))).value

    calls: dict[tuple[str, int], Callable[[], jax.Array]] = {}
    for n in range(shots):
        whole, own = draw((n + 1) * size), draw(size)
        history = History(*kept, jnp.full((2,), n * size, jnp.int32))
        calls["joint", n] = lambda whole=whole: joint(*whole)
        calls["causal", n] = lambda own=own, history=history: causal(*own, history)
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats + 1):  # the first one compiles
        for name, call in calls.items():
            start = time.perf_counter()
            call().block_until_ready()
            best[name] = min(best[name], time.perf_counter() - start)
    return {mode: [best[mode, n] for n in range(shots)] for mode in ("joint", "causal")}


def measure_int8(shots: int = 4) -> float:
    """Returns the error of a scene's last shot with int8 keys and values, relative to its size."""
    made = {}
    for kept_as in ("model", "int8"):
        scene = Scene(shots)
        request = scene.requests[-1]
        config = SamplingConfig(steps=8, guidance=3.0, kv_dtype=kept_as)
        sampling_scene = scene.make_sampling_scene(request, config)
        plan = plan_mode("causal", request, config)
        cached = CachedPass(scene.causal, sampling_scene, plan, time_grid(config.steps, 1.0))
        made[kept_as] = list(sample_scene(cached, sampling_scene, plan))[-1].tokens
    return float(np.linalg.norm(made["int8"] - made["model"]) / np.linalg.norm(made["model"]))


def randomise(params: Any) -> Any:
    """Fills weights with noise, because those that are zero at initialisation would make every velocity zero."""
    rng = np.random.default_rng(0)
    fan_in = lambda x: x.shape[-2] if x.ndim > 1 else 25
    return jax.tree.map(
        lambda x: x + rng.normal(size=x.shape).astype("f4") * fan_in(x) ** -0.5, params
    )


def _one_group(length: int) -> TokenIndex:
    one = jnp.ones((2, length), jnp.int32)
    return TokenIndex(one, one, one, jnp.zeros((2, length, 3), jnp.int32))


def _measure_peak(scene: Scene, mode: str, shots: int) -> float | None:
    """Returns the megabytes by which resident memory rises above its value before; None if the system does not report
    it."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        # Free memory is returned, so that memory which is taken again is counted.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
        scene.time_windows(mode, shots)
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        return max(0.0, (peak * 1024 - before) / 1e6)
    return None
