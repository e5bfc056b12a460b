r"""Tunes LCT on scenes of the village: villagers with faces and clothes, up to nine shots of 64x96 in a scene.

The run starts from the single-shot base of `village_base.py`:

    python -m lct_jax.puppets.prepare --config=configs/village.py --scenes=1500 --shots=2-9 --characters=2 \
        --withhold=0.5 --out=runs/village_scenes
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py --config=configs/village.py \
        --data=runs/village_scenes --workdir=runs/village

A step is two rows of 2,104 tokens: 0.14 TFLOP, of which most is attention; 1,000 steps take 24 minutes on two cores of
an AMD EPYC. A scene of eight shots is sampled jointly with 0.55 TFLOP. What ships is in examples/village/README.md.
"""

from lct_jax.config import (
    ComputeConfig,
    Config,
    DataConfig,
    DualStreamConfig,
    FlowConfig,
    LayoutConfig,
    PrepareConfig,
    SamplingConfig,
    TrainingConfig,
    editable,
)

BACKBONE = DualStreamConfig(
    width=160,
    depth=6,
    heads=5,
    head_dim=32,
    # Faces are a few pixels: 64 components of a block keep them (examples/village/README.md).
    channels=64,
    # A frame has 96 tokens without larger patches.
    patch=(1, 1, 1),
    text_width=384,
    mlp_ratio=3,
    rope_split=(8, 12, 12),
)
# The stride is seven turns of the fastest frequency (docs/ablations.md).
LAYOUT = LayoutConfig(scene_span=84, shot_span=76, stride=44)
# Two CPU cores compute float32 faster than bfloat16.
COMPUTE = ComputeConfig(dtype="float32", remat="none")
PREPARE = PrepareConfig(
    fps=8.0,
    height=64,
    width=96,
    max_frames=9,
    clips=1,
    stills=2,
    codec_from="examples/village/patch_codec.safetensors",
)
# As with `puppets.py`, large areas are decided at times above 0.9.
FLOW = FlowConfig(mean=0.5, std=2.0, shift=3.0, times="mixed", together=0.3)
SAMPLING = SamplingConfig(
    steps=16,
    # Chosen on scenes that are not evaluated (examples/village/README.md).
    guidance=3.0,
    # A model of the village was not trained on such words, so it uses the empty prompt, which it knows.
    negative_scene="",
    negative_shot="",
    window=9,
    frames=5,
    height=64,
    width=96,
)


def get_config():
    return editable(
        Config(
            name="village",
            world="village",
            prepare=PREPARE,
            backbone=BACKBONE,
            layout=LAYOUT,
            compute=COMPUTE,
            flow=FLOW,
            data=DataConfig(
                rows=2,
                video_tokens=1824,
                text_tokens=280,
                groups=12,
                max_shots=9,
                single_weight=0.1,
                singles_from_scenes=True,
                pool=16,
            ),
            training=TrainingConfig(
                steps=1_700,
                warmup=50,
                optimizer="muon",
                learning_rate=2e-3,
                muon_learning_rate=4e-3,
                ema=0.995,
                init_from="runs/village_base",
                eval_every=500,
                save_every=100,
                eval_batches=2,
            ),
            sampling=SAMPLING,
        )
    )
