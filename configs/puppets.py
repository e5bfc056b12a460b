r"""Tunes LCT on puppet scenes: rendered shots whose every attribute is known, up to nine of them in a scene.

The run starts from the single-shot base of `puppets_base.py` and tunes it on scenes and single shots, in four parts of
about an hour or less on two CPU cores. All four, and what each reaches, are in examples/puppets/README.md; this is the
first:

    python -m lct_jax.puppets.prepare --config=configs/puppets.py --scenes=4000 --shots=2-9 --characters=2 \
        --withhold=0.5 --out=runs/puppets_scenes
    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py --config=configs/puppets.py \
        --data=runs/puppets_scenes --workdir=runs/puppets_1
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
    width=128,
    depth=6,
    heads=4,
    head_dim=32,
    channels=32,
    # A frame has 16 to 20 tokens without larger patches.
    patch=(1, 1, 1),
    text_width=384,
    rope_split=(8, 12, 12),
)
# The stride is seven turns of the fastest frequency (docs/ablations.md).
LAYOUT = LayoutConfig(scene_span=56, shot_span=36, stride=44)
# Two CPU cores compute float32 faster than bfloat16.
COMPUTE = ComputeConfig(dtype="float32", remat="none")
PREPARE = PrepareConfig(
    fps=8.0,
    height=32,
    width=40,
    max_frames=9,
    clips=1,
    stills=2,
    codec_from="examples/puppets/patch_codec.safetensors",
)
# The colour of a large area is decided at times above 0.9. If training rarely uses those, shots do not learn to agree
# on it (docs/ablations.md).
FLOW = FlowConfig(mean=0.5, std=2.0, shift=3.0, times="mixed", together=0.3)
SAMPLING = SamplingConfig(
    steps=16,
    # The guidance was chosen on scenes that are not evaluated (examples/puppets/README.md).
    guidance=5.0,
    # A model of puppets was not trained on such words, so it uses the empty prompt, which it knows.
    negative_scene="",
    negative_shot="",
    window=9,
    frames=5,
    height=32,
    width=40,
)


def get_config():
    return editable(
        Config(
            name="puppets",
            prepare=PREPARE,
            backbone=BACKBONE,
            layout=LAYOUT,
            compute=COMPUTE,
            flow=FLOW,
            data=DataConfig(
                rows=4,
                video_tokens=420,
                text_tokens=230,
                groups=16,
                max_shots=9,
                single_weight=0.1,
                singles_from_scenes=True,
                pool=16,
            ),
            training=TrainingConfig(
                steps=5_000,
                warmup=50,
                learning_rate=1.5e-3,
                ema=0.995,
                init_from="runs/puppets_base",
                eval_every=500,
                save_every=250,
                eval_batches=2,
            ),
            sampling=SAMPLING,
        )
    )
