"""Every number a run is made of: frozen, validated dataclasses, and the way they pass through flags.

A file under `configs/` returns `editable(Config(...))`, which absl flags may change field by field; `freeze`
turns the result back into a checked `Config`. Where the paper is silent, our decision stands here as the
default and nowhere else. [P] is the LCT paper (arXiv 2503.10589), [S] its supplement, [D] our decision.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from ml_collections import ConfigDict

from lct_jax.config.fields import build, check_range, check_values
from lct_jax.errors import InputError

Context = Literal["full", "causal"]
KVDtype = Literal["model", "int8"]
Kernel = Literal["auto", "splash", "triton", "chunked"]
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class ModelConfig:
    """The MMDiT [P: section 3.1]; the paper states 3B parameters, the rest is [D].

    Attributes:
        width: D. depth: N, blocks, all dual-stream. heads: H. head_dim: K.
        channels: latent channels of the video codec. patch: latent (T, X, Y) folded into one token.
        text_width: E of the text encoder.
        mlp_ratio: F / D.
        rope_split: how K is divided over (t, h, w); each part even. rope_base: frequency base.
        qk_norm: RMSNorm of queries and keys "head" (each head apart), "all" (across heads) or "none".
        final_norm: norm before the output layer, "layer" or "rms".
        scene_span, shot_span: diagonal positions reserved for the text of group 0 and of a shot.
        group_stride: every group takes a multiple of so many diagonal positions; 0: what its span and grid need [D].
            The same place in the next shot is then equally far whatever the shots' sizes; with a stride near a multiple
            of 2 pi, such as 44, the fastest rotary frequency does not turn from shot to shot.
        positions: "interleaved" along the diagonal, shot behind shot (the method), or "same": all shots at the
            coordinates of the first (an ablation: nothing but the words of prompts says which shot is which).
        prompts: who sees a shot's prompt: "all" shots of its scene (the method), or its "own" shot alone (an ablation,
            after HoloCine, arXiv 2510.20822); the global one is seen by all. "own" needs the chunked kernel.
        time_features: width of the sinusoidal time features.
        dtype: compute type; parameters, norms, softmax, RoPE, modulation and loss are float32.
        kernel: of attention. "splash" is JAX's for TPU, "triton" ours for GPU (elsewhere they are interpreted, slowly),
            "chunked" runs anywhere; "auto" takes what the platform has.
        remat: what the backward pass computes again. "none": nothing; "block": each block; "save_attention": each
            block but what its attention kernel gave; "offload": the same, kept in the host's memory meanwhile.
    """

    width: int = 2048
    depth: int = 28
    heads: int = 16
    head_dim: int = 128
    channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    text_width: int = 4096
    mlp_ratio: int = 4
    rope_split: tuple[int, int, int] = (16, 56, 56)
    rope_base: float = 10_000.0
    qk_norm: Literal["head", "all", "none"] = "head"
    final_norm: Literal["layer", "rms"] = "layer"
    scene_span: int = 512
    shot_span: int = 256
    group_stride: int = 0
    positions: Literal["interleaved", "same"] = "interleaved"
    prompts: Literal["all", "own"] = "all"
    time_features: int = 256
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    kernel: Kernel = "auto"
    remat: Literal["none", "block", "save_attention", "offload"] = "block"

    def __post_init__(self) -> None:
        check_values("model", self, may_be_zero=("group_stride",))
        if sum(self.rope_split) != self.head_dim or any(part % 2 for part in self.rope_split):
            raise InputError(
                f"model.rope_split: found {self.rope_split}, expected three even numbers "
                f"that sum to head_dim {self.head_dim}"
            )
        if self.prompts == "own" and self.kernel != "chunked":
            raise InputError(
                f"model.kernel: found {self.kernel!r}, expected 'chunked' where model.prompts is 'own'"
            )

    @property
    def patch_channels(self) -> int:
        """C: latent channels times latent positions of a patch."""
        return self.channels * self.patch[0] * self.patch[1] * self.patch[2]


@dataclass(frozen=True)
class FlowConfig:
    """Rectified flow [P: section 3.1] with a time of its own for every shot [P: section 3.3].

    Attributes:
        mean, std: of the normal under the logistic [D: SD3's 0 and 1].
        shift: s in t' = s t / (1 + (s - 1) t), in training and for the sampler's grid [D].
        times: "per_shot" (asynchronous, the method), "per_scene" (one time for all shots: an ablation), or "mixed" [D].
            Joint sampling begins with all shots at high noise, which eight times drawn apart hardly ever are: a model
            that can nearly always copy from a cleaner shot learns too little to follow the global prompt there.
        together: with "mixed" times, the chance that all shots of a scene share one.
    """

    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    times: Literal["per_shot", "per_scene", "mixed"] = "per_shot"
    together: float = 0.5

    def __post_init__(self) -> None:
        check_values("flow", self, signed=("mean",))
        check_range("flow.together", self.together, low=0.0, high=1.0)


@dataclass(frozen=True)
class DataConfig:
    """Which samples are drawn and how they are packed [S: A.1].

    Attributes:
        rows: packed rows of a global batch. video_tokens, text_tokens: budget of a row.
        groups: S, group slots of a row (a scene of n shots takes n + 1).
        max_shots: longest run of consecutive shots drawn from a scene.
        single_weight: share of single-shot samples in the mix, and so in the loss (flow.py) [S: 1 to 1].
        frame_probability: chance that a shot becomes one of its own frames.
        drop_story: chance that the global prompt is written without its story [D: 0.3].
        drop_text: chance that all text of a sample is the empty prompt [D: 0.1].
        pool: batches that are packed together; more fills rows better. seed: of the plan.
        workers: reader processes (0: threads of this process). prefetch: batches held ready.
    """

    rows: int = 8
    video_tokens: int = 1024
    text_tokens: int = 512
    groups: int = 10
    max_shots: int = 9
    single_weight: float = 0.5
    frame_probability: float = 0.1
    drop_story: float = 0.3
    drop_text: float = 0.1
    pool: int = 8
    seed: int = 0
    workers: int = 0
    prefetch: int = 4

    def __post_init__(self) -> None:
        shares = ("single_weight", "frame_probability", "drop_story", "drop_text")
        check_values("data", self, may_be_zero=("seed", "workers", *shares))
        for name in shares:
            check_range(f"data.{name}", getattr(self, name), low=0.0, high=1.0)
        if self.groups < 2:
            raise InputError(f"data.groups: found {self.groups}, expected at least 2")


@dataclass(frozen=True)
class TrainingConfig:
    """The optimiser and the loop [S: A.1], with warm-up, clipping and EMA warm-up as [D].

    Attributes:
        steps: of the whole run. warmup: steps of linear warm-up before the cosine decay.
        learning_rate, beta1, beta2, weight_decay: AdamW. clip: of the global gradient norm.
        ema: decay, warmed up as min(ema, (1 + step) / (10 + step)).
        accumulate: micro-batches a step; divides data.rows.
        seq_shards: devices along the tokens of a row.
        seed: of initialisation, time and noise. context: attention over shots.
        init_from: safetensors or checkpoint folder to start from; "" starts from random weights.
        init_weights: which weights of a checkpoint folder to start from.
        spike: a loss so many times the mean of recent ones is one: its update is not made, as with one that is not a
            number [D]. most_skipped: updates not made in a row at which the run stops [D].
        log_every, eval_every, save_every: in steps. keep: checkpoints kept.
        eval_batches: batches of held-out scenes; 0 switches evaluation off.
        eval_times: diffusion times at which the validation loss is taken.
    """

    steps: int = 135_000
    warmup: int = 1_000
    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.1
    clip: float = 1.0
    ema: float = 0.996
    accumulate: int = 1
    seq_shards: int = 1
    seed: int = 0
    context: Context = "full"
    init_from: str = ""
    init_weights: Literal["ema", "params"] = "ema"
    spike: float = 5.0
    most_skipped: int = 20
    log_every: int = 10
    eval_every: int = 1_000
    save_every: int = 1_000
    keep: int = 2
    eval_batches: int = 2
    eval_times: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)

    def __post_init__(self) -> None:
        check_values(
            "training", self, may_be_zero=("seed", "warmup", "weight_decay", "eval_batches")
        )
        check_range("training.ema", self.ema, low=0.0, high=1.0)
        for time in self.eval_times:
            check_range("training.eval_times", time, low=0.0, high=1.0)
        if self.warmup >= self.steps:
            raise InputError(
                f"training.warmup: found {self.warmup}, expected fewer than training.steps {self.steps}"
            )


@dataclass(frozen=True)
class SamplingConfig:
    """How scenes are sampled [S: A.2].

    Attributes:
        steps: Euler steps. guidance: scale of text-only classifier-free guidance.
        negative_scene, negative_shot: negative prompts of the global group and of the shots [S: the former long, the
            latter short; the words are ours].
        condition_time: t at which given images and videos are held. history_time: the same for finished
            shots [P: 100 to 500 of 1000; D: 0.1 and 0.2].
        window: most shots a model sees at once, the new one included [P: 9].
        cache: what causal sampling keeps of a finished shot: keys and values of a pass at history_time ("renoise"),
            or those of the Euler step nearest to it ("reuse") [D: the paper can be read both ways].
        history: which finished shots a new shot sees, the last ones ("recent") or those that have most to do with
            it ("relevant"). history_shots, history_tokens: at most so many; tokens 0 sets no limit.
        kv_dtype: of kept keys and values, the model's or "int8".
        shards: devices over which tokens, and the heads of the cache, are divided.
        frames, height, width: of a shot whose script does not say, in pixels.
        seed: of the noise.
    """

    steps: int = 32
    guidance: float = 7.5
    negative_scene: str = (
        "Low quality film, blurred, noisy, overexposed, washed-out colours, compression artefacts, "
        "watermark, subtitles, distorted faces and hands, people and places that change between shots"
    )
    negative_shot: str = "Blurred, distorted, low quality"
    condition_time: float = 0.1
    history_time: float = 0.2
    window: int = 9
    cache: Literal["renoise", "reuse"] = "renoise"
    history: Literal["recent", "relevant"] = "recent"
    history_shots: int = 8
    history_tokens: int = 0
    kv_dtype: KVDtype = "model"
    shards: int = 1
    frames: int = 125
    height: int = 480
    width: int = 480
    seed: int = 0

    def __post_init__(self) -> None:
        may_be_zero = ("seed", "guidance", "condition_time", "history_time", "history_tokens")
        check_values("sampling", self, may_be_zero=may_be_zero)
        for name in ("condition_time", "history_time"):
            check_range(f"sampling.{name}", getattr(self, name), low=0.0, high=1.0)
        if self.frames % 4 != 1:
            raise InputError(f"sampling.frames: found {self.frames}, expected 4n + 1")


@dataclass(frozen=True)
class PrepareConfig:
    """How footage becomes records [S: A.1: 12 fps, at most 125 frames a shot, 480x480 area at its own aspect ratio].

    Attributes:
        fps: frames a second, taken by timestamps.
        height, width: whose product is the pixel area of a frame; its aspect ratio is that of the footage, up to
            the multiples that codec and patch need. aspect_error: largest stretch for that, footage beyond is set
            aside.
        records: "latents", or "pixels" to be encoded later (lct_jax.data.prepare --pixels).
        max_frames: longest clip, 4n + 1. clips: clips of that length cut from a longer shot, evenly spaced.
        stills: single frames of a shot encoded on their own, for frame substitution.
        codec: "patch", "tiny_vae" or "wan_vae". codec_from: file or folder with its weights; "" fits the patch codec
            to the footage.
        encoder: "minilm", "t5", "umt5", or "stand_in" (tests: words hashed). encoder_from: folder with its weights
            and tokenizer; "" those of an installed package. Both: any file of lct_jax/codecs that defines one.
    """

    fps: float = 12.0
    height: int = 480
    width: int = 480
    aspect_error: float = 0.1
    records: Literal["latents", "pixels"] = "latents"
    max_frames: int = 125
    clips: int = 1
    stills: int = 4
    codec: str = "patch"
    codec_from: str = ""
    encoder: str = "minilm"
    encoder_from: str = ""

    def __post_init__(self) -> None:
        check_values("prepare", self)
        if self.max_frames % 4 != 1:
            raise InputError(f"prepare.max_frames: found {self.max_frames}, expected 4n + 1")


@dataclass(frozen=True)
class FootageConfig:
    """How a film without a scene file is cut, filtered, grouped and captioned; lengths are in frames at prepare.fps.

    Attributes:
        detector: of PySceneDetect. cut_threshold: its threshold (adaptive 3, content 27). cut_contrast: least change
            of a cut to the adaptive detector [both its defaults]. cut_burst: mean change (0 to 255) that is a cut even
            where one of its sides moves as wildly (data/cuts.py).
        black: mean brightness (0 to 255) below which a frame is black [PySceneDetect: 12]; black and fades are cut out.
        shortest, longest: of a shot [S: 125]; a longer take is divided, going on without a cut.
        take, event: takes of at least so many frames are divided where the picture changes by so much (root mean
            square, 0 to 255) [P: pseudo multi-shot scenes; numbers D].
        frozen: mean change a frame (0 to 255) below which a shot stands still.
        ink, smooth, card: a frame is a text card with so much of it thin strokes and so much of the rest smooth; a shot
            is one when so much of it is. ink_colours: how far the strokes' colours may lie from a line (0 to 255).
        duplicate: mean difference (0 to 255) below which two shots of one length are the same.
        scene_price, scene_usual, scene_shots: of a scene when takes are grouped (data/grouping.py), its usual and
            its largest number of takes [P: about 5 shots, and 9]. scene_gap: frames left out between two takes that
            end a scene.
        captions: "file" beside the video, or "chat" model. caption_frames: shown to it of each shot.
        held_out: share of films kept for validation.
    """

    detector: Literal["adaptive", "content"] = "adaptive"
    cut_threshold: float = 3.0
    cut_contrast: float = 15.0
    cut_burst: float = 50.0
    black: float = 12.0
    shortest: int = 5
    longest: int = 125
    take: int = 60
    event: float = 40.0
    frozen: float = 0.03
    ink: float = 0.025
    smooth: float = 0.85
    ink_colours: float = 25.0
    card: float = 0.6
    duplicate: float = 2.0
    scene_price: float = 1.7
    scene_usual: int = 7
    scene_shots: int = 9
    scene_gap: int = 12
    captions: Literal["file", "chat"] = "file"
    caption_frames: int = 3
    held_out: float = 0.05

    def __post_init__(self) -> None:
        check_values("footage", self, may_be_zero=("held_out", "frozen", "duplicate"))
        for name in ("ink", "smooth", "card", "held_out"):
            check_range(f"footage.{name}", getattr(self, name), low=0.0, high=1.0)
        if self.longest < 2 * self.shortest:
            raise InputError(
                f"footage.longest: found {self.longest}, expected at least twice footage.shortest"
                f" {self.shortest}: a take is divided into parts of at least that"
            )


@dataclass(frozen=True)
class Config:
    """One experiment."""

    name: str
    footage: FootageConfig = field(default_factory=FootageConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        if self.data.rows % self.training.accumulate:
            raise InputError(
                f"training.accumulate: found {self.training.accumulate}, "
                f"expected a divisor of data.rows {self.data.rows}"
            )


def editable(config: Any) -> ConfigDict:
    """A Config, or other settings, as a typed ConfigDict, which `config_flags` can change field by field."""
    return ConfigDict(dataclasses.asdict(config))


def freeze(values: ConfigDict | dict[str, Any], kind: type[Settings] = Config) -> Settings:
    """The checked Config of an edited ConfigDict, or of the JSON a checkpoint carries; or settings of another kind.

    Raises:
        InputError: a field that does not exist, is missing, or has a value out of its range.
    """
    values = values.to_dict() if isinstance(values, ConfigDict) else values
    return build(kind, values, path="config")


def read_beside(file: str | Path, name: str) -> ModuleType:
    """The config NAME.py in the folder of a config `file`: they are read by path, and in no package.

    Raises:
        FileNotFoundError: there is no such file.
    """
    spec = importlib.util.spec_from_file_location(name, Path(file).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
