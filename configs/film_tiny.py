r"""Tunes LCT on the film example: Big Buck Bunny at 144x80, up to five shots of 17 frames in a scene.

The run starts from the single-shot base of `film_tiny_base.py` and tunes it on scenes and single shots, one to one. It
takes a few minutes on two CPU cores:

    python -m lct_jax.data.prepare --scenes=examples/big_buck_bunny/scenes.json \
        --config=configs/film_tiny.py --out=runs/film
    python train.py --config=configs/film_tiny.py --data=runs/film --workdir=runs/film_tiny
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
    width=256,
    depth=4,
    heads=4,
    head_dim=64,
    channels=16,
    text_width=384,
    rope_split=(8, 28, 28),
)
LAYOUT = LayoutConfig(
    scene_span=192,
    shot_span=64,
)
# Two CPU cores compute float32 faster than bfloat16.
COMPUTE = ComputeConfig(dtype="float32", remat="none")
PREPARE = PrepareConfig(
    height=80,
    width=144,
    max_frames=17,
    clips=6,
    stills=4,
    codec="tiny_vae",
    codec_from="examples/big_buck_bunny/film_vae.safetensors",
)
FLOW = FlowConfig(shift=2.0)
SAMPLING = SamplingConfig(
    guidance=3.0,
    # A model of one film was not trained on such words, so it uses the empty prompt, which it knows.
    negative_scene="",
    negative_shot="",
    window=5,
    frames=17,
    height=80,
    width=144,
)


def get_config():
    return editable(
        Config(
            name="film_tiny",
            prepare=PREPARE,
            backbone=BACKBONE,
            layout=LAYOUT,
            compute=COMPUTE,
            flow=FLOW,
            data=DataConfig(
                rows=2,
                video_tokens=1126,
                text_tokens=400,
                groups=8,
                max_shots=5,
                pool=8,
                singles_from_scenes=True,  # there is one film, and it has scenes alone
            ),
            training=TrainingConfig(
                steps=240,
                warmup=10,
                learning_rate=6e-4,
                init_from="examples/big_buck_bunny/film_tiny_base.safetensors",
                eval_every=120,
                save_every=60,
                eval_batches=1,
            ),
            sampling=SAMPLING,
        )
    )
